//! Frames that keep coming back: one event in them may be what ends the worker. They are split,
//! before any event in them is looked at, into frames of one event each on the queue of suspects,
//! so that its delivery limit takes the one event and not its neighbours.

use bytes::Bytes;
use ha_broker::{Delivery, Header, Outgoing, Publisher, topology};
use ha_frame::Frame;
use ha_pipeline::letter::{HEADER_FIRST_FAILED_AT, HEADER_REPLAYS};
use tokio_util::sync::CancellationToken;

/// A frame delivered this often before is suspect: a worker that is killed costs its whole
/// prefetch one delivery, and so does a long outage of the database.
const DELIVERIES_MAX: u64 = 3;

/// Whether a delivery has to be split.
#[must_use]
pub fn is_suspect(delivery: &Delivery) -> bool {
    delivery.delivery_count >= DELIVERIES_MAX
}

/// Splits frames.
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

    /// Publishes every event of the frame by itself, confirmed, however long that takes; then the
    /// delivery may be acknowledged: its tag. What is no frame goes on whole: the one that takes it
    /// as a suspect says so in a dead letter.
    pub async fn split(&self, delivery: Delivery) -> u64 {
        let sent = delivery.header_text(ha_trace::HEADER);
        let span = ha_trace::process(sent.as_deref(), topology::EVENTS_QUEUE);
        let context = span.context();
        ha_trace::within(&context, self.split_below(delivery, span.traceparent())).await
    }

    async fn split_below(&self, delivery: Delivery, traceparent: Option<String>) -> u64 {
        let replay = ha_assembly::replay(&delivery).map(|replay| {
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
        let payload = Bytes::from(ha_frame::unpacked(delivery.payload));
        let singles = match ha_frame::decode(&payload) {
            Ok(frame) => singles(&frame),
            Err(_) => vec![payload.clone()],
        };
        tracing::warn!(
            deliveries = delivery.delivery_count,
            events = singles.len(),
            "a frame came back too often; its events go on one by one"
        );
        let traceparent = traceparent.map(|header| (ha_trace::HEADER.into(), Header::Text(header)));
        let never = CancellationToken::new();
        let published = singles.into_iter().map(|payload| {
            let message = Outgoing {
                exchange: "",
                routing_key: topology::SUSPECTS_QUEUE.into(),
                payload,
                content_type: ha_frame::CONTENT_TYPE,
                headers: [
                    (
                        ha_frame::HEADER_VERSION.into(),
                        Header::Number(ha_frame::VERSION.into()),
                    ),
                    (ha_frame::HEADER_COUNT.into(), Header::Number(1)),
                ]
                .into_iter()
                .chain(replay.iter().flatten().cloned())
                .chain(traceparent.clone())
                .collect(),
            };
            self.publisher.publish_until_delivered(message, &never)
        });
        futures_util::future::join_all(published).await;
        delivery.tag
    }
}

/// A frame of its own for each event, with the facts of the whole.
fn singles(frame: &Frame<'_>) -> Vec<Bytes> {
    let mut singles = Vec::with_capacity(frame.envelopes.len());
    for envelope in &frame.envelopes {
        let single = Frame {
            envelopes: vec![envelope.clone()],
            ..frame.clone()
        };
        let mut payload = Vec::with_capacity(envelope.json.len() + 256);
        // Encoding what was decoded a moment ago cannot fail.
        if ha_frame::encode(&single, &mut payload).is_ok() {
            singles.push(payload.into());
        }
    }
    singles
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_frame::{Envelope, HomeFacts, Origin};

    #[test]
    fn every_event_gets_a_frame_with_the_facts_of_the_whole() {
        let envelope = |json: &'static [u8]| Envelope {
            id: uuid::Uuid::from_u128(1),
            instance: "home".into(),
            epoch: Some(1),
            sequence: Some(2),
            received_at_ns: 3,
            origin: Origin::Live,
            json: json.into(),
        };
        let mut frame = Frame::new(vec![envelope(b"{}"), envelope(b"[]")]);
        frame.home = Some(HomeFacts {
            latitude: Some(1.5),
            ..HomeFacts::default()
        });
        let singles = singles(&frame);
        assert_eq!(singles.len(), 2);
        for (single, whole) in singles.iter().zip(&frame.envelopes) {
            let single = ha_frame::decode(single).unwrap();
            assert_eq!(single.home, frame.home);
            assert_eq!(single.envelopes.first(), Some(whole));
        }
    }
}
