//! Batches that keep coming back: one event in them may be what ends the worker. They are split,
//! before any event in them is parsed, into batches of one event each on the queue of suspects,
//! so that its delivery limit takes the one event and not its neighbours.
//!
//! After a crash every batch that a worker held is suspect, and all workers get them at once. So
//! memory is bounded here: one batch is decompressed at a time, its events are encoded one after the
//! other, each with the facts of its own entity, and only a window of them is on its way.

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ha_batch::Batch;
use ha_broker::{Delivery, Header, Outgoing, Publisher, topology};
use ha_pipeline::dead_letter::{HEADER_FIRST_FAILED_AT, HEADER_REPLAYS};
use tokio_util::sync::CancellationToken;

/// A batch delivered this often before is suspect: a worker that is killed costs its whole
/// prefetch one delivery, and so does a long outage of the database.
const DELIVERIES_MAX: u64 = 3;

/// Single events on their way to the broker at one time: enough to wait for its disk and not for
/// the network.
const WINDOW_MESSAGES: usize = 64;

/// While this many bytes are on their way, no further event is sent.
const WINDOW_BYTES: usize = 1 << 20;

/// Whether a delivery has to be split.
#[must_use]
pub fn is_suspect(delivery: &Delivery) -> bool {
    delivery.delivery_count >= DELIVERIES_MAX
}

/// Splits batches.
#[derive(Debug)]
pub struct Splitter {
    publisher: Publisher,
}

impl Splitter {
    /// Over the given publisher.
    #[must_use]
    pub fn new(publisher: Publisher) -> Self {
        Self { publisher }
    }

    /// Publishes every event of the batch by itself, confirmed, however long that takes; then the
    /// delivery may be acknowledged: its tag. Dropped before, it leaves some events published that
    /// are published again when the delivery comes again: they become the same points. What is no
    /// batch goes on whole: the one that takes it as a suspect says so in a dead letter.
    pub async fn split(&self, delivery: Delivery) -> u64 {
        let sent = delivery.header_text(ha_trace::HEADER);
        let span = ha_trace::process(sent.as_deref(), topology::EVENTS_QUEUE);
        let context = span.context();
        ha_trace::within(&context, self.split_below(delivery, span.traceparent())).await
    }

    async fn split_below(&self, delivery: Delivery, traceparent: Option<String>) -> u64 {
        let replay = ha_dead_letters::replay(&delivery).map(|replay| {
            [
                (
                    HEADER_REPLAYS.to_owned(),
                    Header::Number(replay.count.into()),
                ),
                (
                    HEADER_FIRST_FAILED_AT.to_owned(),
                    Header::Number(replay.first_failed_at_ns),
                ),
            ]
        });
        let payload = Bytes::from(ha_batch::decompressed(delivery.payload));
        let batch = ha_batch::decode(&payload);
        let events = batch.as_ref().map_or(1, |batch| batch.envelopes.len());
        tracing::warn!(
            deliveries = delivery.delivery_count,
            events,
            "a batch came back too often; its events go on one by one"
        );
        let traceparent = traceparent.map(|header| (ha_trace::HEADER.into(), Header::Text(header)));
        let (publisher, never) = (&self.publisher, &CancellationToken::new());
        let send = |payload| {
            let message = Outgoing {
                exchange: "",
                routing_key: topology::SUSPECTS_QUEUE.into(),
                payload,
                content_type: ha_batch::CONTENT_TYPE,
                headers: [
                    (
                        ha_batch::HEADER_VERSION.into(),
                        Header::Number(ha_batch::VERSION.into()),
                    ),
                    (ha_batch::HEADER_COUNT.into(), Header::Number(1)),
                ]
                .into_iter()
                .chain(replay.iter().flatten().cloned())
                .chain(traceparent.clone())
                .collect(),
            };
            async move {
                // Never told to stop, it ends when the broker has the message.
                let _ = publisher.publish_until_delivered(message, never).await;
            }
        };
        match &batch {
            Ok(batch) => send_all(singles(batch, &payload), send).await,
            Err(_) => send(payload.clone()).await,
        }
        delivery.tag
    }
}

/// Sends each, with a window of them on their way; returns when all have arrived. None is made
/// before there is room for it.
async fn send_all<F: Future<Output = ()>>(
    payloads: impl Iterator<Item = Bytes>,
    send: impl Fn(Bytes) -> F,
) {
    let mut under_way = FuturesUnordered::new();
    let mut bytes = 0;
    for payload in payloads {
        let len = payload.len();
        bytes += len;
        let sending = send(payload);
        under_way.push(async move {
            sending.await;
            len
        });
        while under_way.len() >= WINDOW_MESSAGES || bytes >= WINDOW_BYTES {
            let Some(len) = under_way.next().await else {
                break;
            };
            bytes -= len;
        }
    }
    while under_way.next().await.is_some() {}
}

/// A batch of its own for each event: with what the whole says of the home, and of the registries'
/// facts those of the event's own entity. Enrichment makes the same of the event as within the
/// whole.
fn singles<'f>(batch: &'f Batch<'_>, whole: &'f Bytes) -> impl Iterator<Item = Bytes> + 'f {
    batch.envelopes.iter().map(move |envelope| {
        let facts = ha_enrich::registry::of_event(&envelope.json, &batch.entities);
        let single = Batch {
            version: batch.version,
            home: batch.home.clone(),
            entities: facts.into_iter().cloned().collect(),
            replay: batch.replay,
            envelopes: vec![envelope.clone()],
        };
        let mut payload = Vec::with_capacity(envelope.json.len() + 256);
        match ha_batch::encode(&single, &mut payload) {
            Ok(()) => payload.into(),
            // What was decoded a moment ago can be encoded. If not, nothing is lost this way.
            Err(_) => whole.clone(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use ha_batch::{EntityFacts, Envelope, HomeFacts, Origin, WeatherFacts};
    use ha_enrich::registry::{self, ExtraTag};
    use std::cell::{Cell, RefCell};
    use tokio::sync::oneshot;

    fn envelope(json: &str) -> Envelope<'_> {
        Envelope {
            id: uuid::Uuid::from_u128(1),
            instance: "home".into(),
            run_id: Some(1),
            sequence: Some(2),
            received_at_ns: 3,
            origin: Origin::Live,
            json: json.as_bytes().into(),
        }
    }

    fn state_changed(entity_id: &str, attributes: serde_json::Value) -> String {
        serde_json::json!({
            "event_type": "state_changed",
            "data": {
                "entity_id": entity_id,
                "old_state": null,
                "new_state": {
                    "entity_id": entity_id, "state": "on", "attributes": attributes,
                    "last_changed": "2026-01-01T00:00:00+00:00",
                    "last_updated": "2026-01-01T00:00:00+00:00",
                },
            },
            "time_fired": "2026-01-01T00:00:00+00:00",
        })
        .to_string()
    }

    /// What is stored of each event of an encoded batch, in the words of the line protocol; or why
    /// nothing is.
    fn stored(batch: &[u8]) -> Vec<String> {
        let batch = ha_batch::decode(batch).unwrap();
        let home = batch.home.as_ref();
        let options = ha_enrich::Options {
            weather: true,
            ..ha_enrich::Options::default()
        };
        let of_event = |envelope| match ha_enrich::enrich(envelope, home, &options) {
            Ok(mut point) => {
                registry::tag(&mut point, &batch.entities, &ExtraTag::ALL);
                assert!(point.seal());
                point.to_line()
            }
            Err(error) => error.to_string(),
        };
        batch.envelopes.iter().map(of_event).collect()
    }

    #[test]
    fn an_event_alone_is_stored_as_within_the_whole_and_carries_no_facts_of_others() {
        let members: Vec<_> = (0..50).map(|n| format!("light.l{n}")).collect();
        let mut events: Vec<_> = members
            .iter()
            .map(|entity_id| state_changed(entity_id, serde_json::json!({"brightness": 7})))
            .collect();
        let group = serde_json::json!({"entity_id": members});
        events.extend([
            state_changed("light.all", group),
            state_changed("light.of_no_registry", serde_json::json!({})),
            state_changed("light.l7", serde_json::json!({})).replace("light.l7", "light\\u002el7"),
            r#"{"event_type":"call_service","data":{"entity_id":"light.l3"},"time_fired":"2026-01-01T00:00:01+00:00"}"#.into(),
            r#"{"event_type":"state_changed","data":{"entity_id":"light.l4"}}"#.into(),
            r#"{"event_type":"state_changed","data":{"entity_id":"light.l5""#.into(),
        ]);
        let mut batch = Batch::new(events.iter().map(|event| envelope(event)).collect());
        batch.home = Some(HomeFacts {
            latitude: Some(1.5),
            weather: Some(WeatherFacts {
                observed_at_us: 1_767_225_500_000_000,
                condition: "rainy".into(),
                attributes: r#"{"temperature":-3,"temperature_unit":"°C"}"#.into(),
            }),
            ..HomeFacts::default()
        });
        // In no order: who else writes batches need not sort them.
        let all = members.iter().map(String::as_str).rev();
        batch.entities = all
            .chain(["light.all"])
            .map(|entity_id| EntityFacts {
                entity_id: entity_id.into(),
                area: Some(format!("Area of {entity_id}").into()),
                labels: vec![format!("label of {entity_id}").into()],
                ..EntityFacts::default()
            })
            .collect();
        batch.replay = Some(ha_batch::Replay {
            count: 2,
            first_failed_at_ns: 9,
        });
        let mut whole = Vec::new();
        ha_batch::encode(&batch, &mut whole).unwrap();
        let whole = Bytes::from(whole);
        let expected = stored(&whole);
        assert!(
            expected[7].contains("area=Area\\ of\\ light.l7"),
            "{expected:?}"
        );
        assert!(expected[7].contains("weather_"), "{expected:?}");

        let decoded = ha_batch::decode(&whole).unwrap();
        let singles: Vec<_> = singles(&decoded, &whole).collect();
        assert_eq!(singles.len(), batch.envelopes.len());
        for (place, single) in singles.iter().enumerate() {
            assert_eq!(stored(single), expected[place..=place], "event {place}");
            let single = ha_batch::decode(single).unwrap();
            assert_eq!(single.envelopes, batch.envelopes[place..=place]);
            assert_eq!((&single.home, single.replay), (&batch.home, batch.replay));
            assert!(single.entities.len() <= 1, "{:?}", single.entities);
        }
    }

    /// Runs what can run. What is on its way arrives when its sender says so.
    #[test]
    fn no_more_than_a_window_is_made_and_on_its_way() {
        for (count, len, most) in [
            (1_000, 100, WINDOW_MESSAGES),
            (40, WINDOW_BYTES / 4, 4),
            (5, 3 * WINDOW_BYTES, 1),
            (3, 10, 3),
            (0, 10, 0),
        ] {
            let made = Cell::new(0);
            let arrivals = RefCell::new(Vec::new());
            let payloads = (0..count).map(|_| {
                made.set(made.get() + 1);
                Bytes::from(vec![0; len])
            });
            let sending = send_all(payloads, |_| {
                let (arrived, arrival) = oneshot::channel::<()>();
                arrivals.borrow_mut().push(arrived);
                async { arrival.await.unwrap() }
            });
            let mut sending = std::pin::pin!(sending);
            let mut arrived = 0;
            while sending.as_mut().now_or_never().is_none() {
                let under_way = made.get() - arrived;
                assert!(
                    under_way > 0 && under_way <= most,
                    "{under_way} of {len} bytes each"
                );
                assert!(under_way == most || made.get() == count, "room is used");
                arrivals.borrow_mut().pop().unwrap().send(()).unwrap();
                arrived += 1;
            }
            assert_eq!((made.get(), arrived), (count, count));
        }
    }
}
