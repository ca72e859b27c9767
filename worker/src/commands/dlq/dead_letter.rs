//! One dead letter as the workbench sees it, whichever store it comes from.

use crate::commands::moment::to_microsecond;
use bytes::Bytes;
use ha_batch::{DecodeError, Replay};
use ha_broker::Delivery;
use ha_pipeline::dead_letter::{
    HEADER_ATTEMPTS, HEADER_ERROR, HEADER_FAILED_AT, HEADER_FINGERPRINT, HEADER_FIRST_FAILED_AT,
    HEADER_REASON, HEADER_REPLAYS, HEADER_STAGE, fingerprint,
};
use ha_spool::{DeadLetterId, StoredDeadLetter};
use serde_json::{Value, json};

/// Every reason that a dead letter can have: those of `x-ha-reason`, and the broker's own words for
/// dead letters that it wrote, where no reason of ours says the same.
pub(super) const REASONS: [&str; 9] = [
    "undecodable",
    "invalid_event",
    "sink_rejected",
    "poison",
    "oversized",
    "refused",
    "rejected",
    "expired",
    "maxlen",
];

/// What its store knows a dead letter by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handle {
    /// At the broker: the delivery tag.
    Tag(u64),
    /// In a spool.
    Id(DeadLetterId),
}

/// A dead letter and what can be read of it.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub handle: Handle,
    /// The first event's UUID; of bytes that are no batch, a hash.
    pub id: String,
    pub payload: Bytes,
    /// As they came, without what the broker adds, with what was derived.
    pub headers: Vec<(String, String)>,
    pub reason: String,
    pub stage: String,
    pub error: String,
    pub fingerprint: String,
    pub failed_at_ns: i64,
    pub first_failed_at_ns: i64,
    pub attempts: u32,
    pub replays: u32,
    /// How often it was delivered before: every look at it counts. Always 0 in a spool.
    pub delivery_count: u64,
    /// The events in it; 0 if it is no batch.
    pub events: Vec<EventFacts>,
    pub instance: String,
    /// The first event's entity; its type if it has none.
    pub subject: String,
    /// Written by a newer producer than this program.
    pub newer_version: Option<u16>,
}

/// Where an event belongs, for the audit.
#[derive(Debug, Clone)]
pub(crate) struct EventFacts {
    pub instance: String,
    pub run_id: Option<u64>,
    pub sequence: Option<u64>,
    pub source_time_ns: i64,
}

impl DeadLetter {
    pub fn of_delivery(delivery: Delivery) -> Self {
        let mut headers = delivery.header_texts();
        headers.retain(|(name, _)| name.starts_with("x-ha-") || name == "traceparent");
        let death = delivery.death();
        let count = delivery.delivery_count;
        let handle = Handle::Tag(delivery.tag);
        let mut dead_letter = Self::read(
            handle,
            headers,
            ha_batch::decompressed(delivery.payload).into(),
        );
        dead_letter.delivery_count = count;
        if dead_letter.reason.is_empty() {
            let (reason, error, at_s) = match death {
                Some(death) if death.reason == "delivery_limit" => (
                    "poison".to_owned(),
                    format!(
                        "delivered too often from {}: it may have killed the worker",
                        death.queue
                    ),
                    death.at_s,
                ),
                Some(death) => {
                    let error = format!(
                        "the broker took it out of {}: {}",
                        death.queue, death.reason
                    );
                    (death.reason, error, death.at_s)
                }
                None => {
                    let error = "published to the dead letters by something else".to_owned();
                    ("rejected".to_owned(), error, None)
                }
            };
            dead_letter.derive(
                &reason,
                "broker",
                &error,
                at_s.map(|at| at.saturating_mul(1_000_000_000)),
            );
        }
        dead_letter
    }

    pub fn of_spool(stored: StoredDeadLetter) -> Self {
        let mut dead_letter = Self::read(Handle::Id(stored.id), stored.headers, stored.payload);
        if dead_letter.failed_at_ns == 0 {
            dead_letter.failed_at_ns = stored.failed_at_ns;
        }
        dead_letter
    }

    fn read(handle: Handle, headers: Vec<(String, String)>, payload: Bytes) -> Self {
        let text = |name: &str| {
            let found = headers.iter().find(|(header, _)| header == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let number = |name: &str| text(name).parse::<i64>().ok();
        let count = |name: &str| number(name).and_then(|value| u32::try_from(value).ok());
        let first_failed_at_ns = number(HEADER_FIRST_FAILED_AT).unwrap_or_default();
        let contents = contents(&payload);
        Self {
            handle,
            id: contents.id,
            reason: text(HEADER_REASON),
            stage: text(HEADER_STAGE),
            error: text(HEADER_ERROR),
            fingerprint: text(HEADER_FINGERPRINT),
            failed_at_ns: number(HEADER_FAILED_AT).unwrap_or(first_failed_at_ns),
            first_failed_at_ns,
            attempts: count(HEADER_ATTEMPTS).unwrap_or(1),
            replays: count(HEADER_REPLAYS).unwrap_or_default(),
            delivery_count: 0,
            instance: contents
                .events
                .first()
                .map(|event| event.instance.clone())
                .unwrap_or_default(),
            events: contents.events,
            subject: contents.subject,
            newer_version: contents.newer_version,
            payload,
            headers,
        }
    }

    /// Fills in what the broker's own dead letters do not say, so that exports and groups have it.
    fn derive(&mut self, reason: &str, stage: &str, error: &str, at_ns: Option<i64>) {
        let domain = self
            .subject
            .split_once('.')
            .map_or("", |(domain, _)| domain);
        self.fingerprint = fingerprint(reason, stage, error, domain);
        reason.clone_into(&mut self.reason);
        stage.clone_into(&mut self.stage);
        error.clone_into(&mut self.error);
        let received = self.events.first().map(|event| event.source_time_ns);
        self.failed_at_ns = at_ns.or(received).unwrap_or_default();
        if self.first_failed_at_ns == 0 {
            self.first_failed_at_ns = self.failed_at_ns;
        }
        let derived = [
            (HEADER_REASON, self.reason.clone()),
            (HEADER_STAGE, self.stage.clone()),
            (HEADER_ERROR, self.error.clone()),
            (HEADER_FINGERPRINT, self.fingerprint.clone()),
            (HEADER_FIRST_FAILED_AT, self.first_failed_at_ns.to_string()),
            (HEADER_FAILED_AT, self.failed_at_ns.to_string()),
            (HEADER_REPLAYS, self.replays.to_string()),
        ];
        self.headers
            .retain(|(name, _)| derived.iter().all(|(header, _)| header != name));
        self.headers
            .extend(derived.map(|(name, value)| (name.to_owned(), value)));
    }

    /// When the dead letter with these headers failed, nanoseconds since the epoch; 0 if none says.
    pub fn failed_at_of(headers: &[(String, String)]) -> i64 {
        let of = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name == wanted);
            found.and_then(|(_, value)| value.parse().ok())
        };
        of(HEADER_FAILED_AT)
            .or_else(|| of(HEADER_FIRST_FAILED_AT))
            .unwrap_or_default()
    }

    /// The end of the id, which is random; the beginning of a UUIDv7 is a time.
    pub fn short_id(&self) -> &str {
        &self.id[self.id.len().saturating_sub(12)..]
    }

    /// Whether `name` is this dead letter's id, or the end of it, as printed.
    pub fn is_called(&self, name: &str) -> bool {
        let name = name.trim().to_ascii_lowercase();
        name.len() >= 8 && self.id.ends_with(&name)
    }

    /// `light.kitchen`, or `light.kitchen +99` of a batch that the broker dead-lettered whole.
    pub fn subject_and_more(&self) -> String {
        match self.events.len() {
            0 => "(no batch)".to_owned(),
            1 => self.subject.clone(),
            count => format!("{} +{}", self.subject, count - 1),
        }
    }

    /// What the next attempt carries.
    pub fn next_replay(&self) -> Replay {
        Replay {
            count: self.replays.saturating_add(1),
            first_failed_at_ns: self.first_failed_at_ns,
        }
    }

    pub fn to_json(&self) -> Value {
        let first = self.events.first();
        json!({
            "id": self.id,
            "reason": self.reason,
            "stage": self.stage,
            "error": self.error,
            "fingerprint": self.fingerprint,
            "failed_at": to_microsecond(self.failed_at_ns),
            "first_failed_at": to_microsecond(self.first_failed_at_ns),
            "attempts": self.attempts,
            "replays": self.replays,
            "instance": self.instance,
            "entity": self.subject,
            "events": self.events.len(),
            "epoch": first.and_then(|event| event.run_id),
            "sequence": first.and_then(|event| event.sequence),
            "payload_bytes": self.payload.len(),
            "delivery_count": self.delivery_count,
        })
    }
}

struct Contents {
    id: String,
    events: Vec<EventFacts>,
    subject: String,
    newer_version: Option<u16>,
}

fn contents(payload: &[u8]) -> Contents {
    let batch = match ha_batch::decode(payload) {
        Ok(batch) => batch,
        Err(error) => {
            let newer_version = match error {
                DecodeError::NewerVersion { found } => Some(found),
                _ => None,
            };
            let (id, subject) = (
                format!("{:016x}", ha_event::fingerprint(payload)),
                String::new(),
            );
            return Contents {
                id,
                events: Vec::new(),
                subject,
                newer_version,
            };
        }
    };
    let mut subject = String::new();
    let events = batch.envelopes.iter().enumerate().map(|(place, envelope)| {
        let peek = ha_event::peek(&envelope.json).ok();
        let time = peek.as_ref().and_then(|peek| peek.source_time);
        if place == 0 {
            let named = peek.map(|peek| peek.entity_id.unwrap_or(peek.event_type).into_owned());
            subject = named.unwrap_or_else(|| "(no event)".to_owned());
        }
        EventFacts {
            instance: envelope.instance.clone().into_owned(),
            run_id: envelope.run_id,
            sequence: envelope.sequence,
            source_time_ns: time.map_or(envelope.received_at_ns, ha_event::UtcMicros::as_nanos),
        }
    });
    let events: Vec<_> = events.collect();
    let id = batch
        .envelopes
        .first()
        .map(|envelope| envelope.id.to_string())
        .unwrap_or_default();
    Contents {
        id,
        events,
        subject,
        newer_version: None,
    }
}
