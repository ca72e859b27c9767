//! From a body to batches: what the pipeline takes, whatever the sender wrote.

use super::options::{IntakeOptions, Limits};
use super::refusal::{EventResult, Refusal};
use axum::http::StatusCode;
use bytes::Bytes;
use ha_batch::{Batch, DecodeError, Envelope, Origin};
use ha_pipeline::now_ns;
use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use uuid::Uuid;

/// Bare events in one batch, and their bytes.
const BATCH_EVENTS_MAX: usize = 100;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A batch of a newer version waits for a newer worker.
const NEWER_VERSION_RETRY_S: u64 = 30;

/// A request's events, ready for the pipeline.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub batches: Vec<PreparedBatch>,
    /// One an event: what was rejected already; the others become what the pipeline says.
    pub results: Vec<EventResult>,
    /// Some event was rejected for its size.
    pub oversized: bool,
}

/// One batch, and the place of each of its events in the request.
#[derive(Debug)]
pub(crate) struct PreparedBatch {
    pub payload: Bytes,
    pub places: Vec<usize>,
}

/// Reads a batch that a producer made; it goes on untouched.
pub(crate) fn from_batch(body: Vec<u8>) -> Result<Prepared, Refusal> {
    let events = match ha_batch::decode(&body) {
        Ok(batch) => batch.envelopes.len(),
        Err(DecodeError::NewerVersion { found }) => {
            let error = format!(
                "the batch has version {found}, and this worker reads up to {}: upgrade the \
                 workers before the producers",
                ha_batch::VERSION
            );
            return Err(Refusal::retry(
                StatusCode::SERVICE_UNAVAILABLE,
                error,
                NEWER_VERSION_RETRY_S,
            ));
        }
        Err(error) => return Err(Refusal::new(StatusCode::BAD_REQUEST, error.to_string())),
    };
    let batch = PreparedBatch {
        payload: body.into(),
        places: (0..events).collect(),
    };
    Ok(Prepared {
        batches: vec![batch],
        results: vec![EventResult::Stored; events],
        oversized: false,
    })
}

/// Reads one event or an array of them and gives them envelopes.
pub(crate) fn from_json(
    body: &[u8],
    instance: &str,
    options: &IntakeOptions,
) -> Result<Prepared, Refusal> {
    let events = elements(body, options.limits.body_events_max)?;
    let mut prepared = Prepared::default();
    let mut open = OpenBatch::default();
    let received_at_ns = now_ns();
    for (place, event) in events.into_iter().enumerate() {
        if let Err(error) = acceptable(event, &options.limits, &mut prepared.oversized) {
            prepared.results.push(EventResult::Rejected { error });
            continue;
        }
        prepared.results.push(EventResult::Stored);
        if open.is_full(event.len()) {
            prepared.batches.push(std::mem::take(&mut open).close()?);
        }
        open.push(place, event, instance, received_at_ns);
    }
    if !open.places.is_empty() {
        prepared.batches.push(open.close()?);
    }
    Ok(prepared)
}

/// What is no event at all is said to the sender, who can mend it; what fails later is a dead letter.
fn acceptable(event: &str, limits: &Limits, oversized: &mut bool) -> Result<(), String> {
    let (bytes, bytes_max) = (event.len(), limits.event_bytes_max);
    if bytes > bytes_max {
        *oversized = true;
        return Err(format!(
            "{bytes} bytes are more than EVENT_BYTES_MAX ({bytes_max})"
        ));
    }
    match ha_event::peek(event.as_bytes()) {
        Ok(_) if event.starts_with('{') => Ok(()),
        Ok(_) => Err("not a Home Assistant event: not an object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The texts of the events: the body itself, or the elements of its array.
fn elements(body: &[u8], events_max: usize) -> Result<Vec<&str>, Refusal> {
    let bad = |error: &dyn fmt::Display| {
        let error = format!("the body is neither an event nor an array of events: {error}");
        Refusal::new(StatusCode::BAD_REQUEST, error)
    };
    match body.trim_ascii_start().first() {
        Some(b'{') => {
            let event: &RawValue = serde_json::from_slice(body).map_err(|error| bad(&error))?;
            Ok(vec![event.get()])
        }
        Some(b'[') => {
            let mut parser = serde_json::Deserializer::from_slice(body);
            let mut too_many = false;
            let visitor = Elements {
                events_max,
                too_many: &mut too_many,
            };
            let read = parser
                .deserialize_seq(visitor)
                .and_then(|events| parser.end().map(|()| events));
            read.map_err(|error| {
                if too_many {
                    let error = format!("more than {events_max} events in one request");
                    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
                } else {
                    bad(&error)
                }
            })
        }
        Some(_) => Err(bad(&"it begins with neither { nor [")),
        None => Err(bad(&"it is empty")),
    }
}

/// Stops at a number of elements: a body of `[0,0,0,…` would take ten times its size in texts.
struct Elements<'m> {
    events_max: usize,
    too_many: &'m mut bool,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = elements.next_element::<&'de RawValue>()? {
            if events.len() == self.events_max {
                *self.too_many = true;
                return Err(serde::de::Error::custom("too many events"));
            }
            events.push(event.get());
        }
        Ok(events)
    }
}

#[derive(Default)]
struct OpenBatch<'a> {
    envelopes: Vec<Envelope<'a>>,
    places: Vec<usize>,
    bytes: usize,
}

impl<'a> OpenBatch<'a> {
    fn is_full(&self, next_bytes: usize) -> bool {
        let events = self.envelopes.len();
        events >= BATCH_EVENTS_MAX || (events > 0 && self.bytes + next_bytes > BATCH_BYTES_MAX)
    }

    fn push(&mut self, place: usize, event: &'a str, instance: &'a str, received_at_ns: i64) {
        self.bytes += event.len();
        self.places.push(place);
        self.envelopes.push(Envelope {
            id: Uuid::now_v7(),
            instance: instance.into(),
            run_id: None,
            sequence: None,
            received_at_ns,
            origin: Origin::Rest,
            json: event.as_bytes().into(),
        });
    }

    fn close(self) -> Result<PreparedBatch, Refusal> {
        let mut payload = Vec::with_capacity(self.bytes + 160 * self.places.len() + 64);
        ha_batch::encode(&Batch::new(self.envelopes), &mut payload)
            .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        Ok(PreparedBatch {
            payload: payload.into(),
            places: self.places,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(events_max: usize) -> IntakeOptions {
        IntakeOptions {
            address: ([127, 0, 0, 1], 0).into(),
            token: None,
            instance: "home".to_owned(),
            limits: Limits {
                event_bytes_max: 1_000,
                body_events_max: events_max,
                ..Limits::default()
            },
        }
    }

    const EVENT: &str = r#"{"event_type":"a","data":{},"time_fired":"2026-11-21T00:00:00+00:00"}"#;

    #[test]
    fn an_array_becomes_full_batches_and_keeps_its_places() {
        let mut parts = vec![EVENT.to_owned(); 250];
        parts[3] = "7".to_owned();
        parts[120] = format!(r#"{{"event_type":"a","pad":"{}"}}"#, "x".repeat(2_000));
        let body = format!(" [{}] ", parts.join(", "));
        let prepared = from_json(body.as_bytes(), "villa", &options(250)).unwrap();
        let places: Vec<_> = prepared
            .batches
            .iter()
            .flat_map(|batch| &batch.places)
            .collect();
        let expected: Vec<_> = (0..250).filter(|place| ![3, 120].contains(place)).collect();
        assert_eq!(places, expected.iter().collect::<Vec<_>>());
        assert_eq!(
            prepared
                .batches
                .iter()
                .map(|f| f.places.len())
                .collect::<Vec<_>>(),
            [100, 100, 48]
        );
        assert!(matches!(&prepared.results[3], EventResult::Rejected { .. }));
        assert!(prepared.oversized && prepared.results.len() == 250);
        let batch = ha_batch::decode(&prepared.batches[2].payload).unwrap();
        assert_eq!(batch.envelopes[0].instance, "villa");
        assert_eq!(
            (batch.envelopes[0].origin, batch.envelopes[0].json.as_ref()),
            (Origin::Rest, EVENT.as_bytes())
        );
    }

    #[test]
    fn what_is_no_body_is_refused() {
        let refused = |body: &str| from_json(body.as_bytes(), "home", &options(10)).unwrap_err();
        for body in [
            "", " ", "7", "null", "\"a\"", "{", "[", "[{}", "[{}]x", "{} {}", "[1,]",
        ] {
            assert_eq!(refused(body).status, StatusCode::BAD_REQUEST, "{body}");
        }
        let many = format!("[{}0]", "0,".repeat(10));
        assert_eq!(refused(&many).status, StatusCode::PAYLOAD_TOO_LARGE);
        let nested = format!("[{}", "[".repeat(1 << 20));
        assert_eq!(
            refused(&nested).status,
            StatusCode::BAD_REQUEST,
            "and the stack holds"
        );
    }

    #[test]
    fn batches_go_on_untouched_and_newer_ones_wait() {
        let mut payload = Vec::new();
        let mut open = OpenBatch::default();
        open.push(0, EVENT, "home", 1);
        let mut batch = Batch::new(open.envelopes.clone());
        ha_batch::encode(&batch, &mut payload).unwrap();
        assert_eq!(
            from_batch(payload.clone()).unwrap().batches[0].payload,
            payload
        );
        assert_eq!(
            from_batch(payload[..9].into()).unwrap_err().status,
            StatusCode::BAD_REQUEST
        );
        batch.version = ha_batch::VERSION + 1;
        payload.clear();
        ha_batch::encode(&batch, &mut payload).unwrap();
        let refusal = from_batch(payload).unwrap_err();
        assert_eq!(
            (refusal.status, refusal.retry_after_s),
            (StatusCode::SERVICE_UNAVAILABLE, Some(30))
        );
    }
}
