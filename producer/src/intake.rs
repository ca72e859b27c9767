//! What is kept of the stream, and its numbers. Events are numbered after filtering, so that a gap
//! in the numbers is a loss; nothing behind this may leave an event out.

use crate::metrics::Metrics;
use bytes::Bytes;
use ha_filter::Filter;
use ha_frame::{Envelope, Origin};
use ha_pipeline::{Letter, Reason};
use ha_source::{QueuePermit, ReceivedEvent};
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// A letter keeps so much of an oversized event: brokers refuse messages of more than 16 MiB.
const LETTER_BYTES_MAX: usize = 8 << 20;

/// Filters and numbers events.
#[derive(Debug)]
pub struct Intake {
    /// The home's name.
    pub instance: String,
    /// This run: milliseconds since 1970.
    pub epoch: u64,
    /// Which events are kept.
    pub filter: Filter,
    /// Larger events become letters.
    pub event_bytes_max: usize,
    /// Counts.
    pub metrics: Metrics,
}

/// An event with its number, not yet in a frame.
#[derive(Debug)]
pub struct Numbered {
    id: Uuid,
    sequence: u64,
    received_at_ns: i64,
    /// Source time, or when it was received where the event does not say.
    pub source_time_ns: i64,
    /// The event's bytes.
    pub json: Bytes,
    _permit: QueuePermit,
}

/// What becomes of a received event.
#[derive(Debug)]
pub enum Taken {
    /// It goes into a frame.
    Event(Numbered),
    /// It is a dead letter already.
    Letter(Box<Letter>),
    /// The filters leave it out.
    Filtered,
}

impl Intake {
    /// Decides about one event. One whose facts cannot be read goes on: its dead letter is written
    /// where it is parsed whole, in the words of the parser.
    pub fn take(&mut self, event: ReceivedEvent) -> Taken {
        let peek = ha_event::peek(&event.json);
        let entity = peek.as_ref().ok().and_then(|peek| peek.entity_id.as_deref());
        if let Some(Err(reason)) = entity.map(|entity| self.filter.decide(entity)) {
            self.metrics.filtered(reason);
            return Taken::Filtered;
        }
        let sequence = self.metrics.totals.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let source_time = peek.as_ref().ok().and_then(|peek| peek.source_time);
        let source_time_ns = source_time.map_or(event.received_at_ns, |time| time.as_nanos());
        let bytes = event.json.len();
        if bytes > self.event_bytes_max {
            let name = entity.unwrap_or("an event without an entity").to_owned();
            let error = format!(
                "{name}: {bytes} bytes are more than EVENT_BYTES_MAX ({}){}",
                self.event_bytes_max,
                if bytes > LETTER_BYTES_MAX { "; the letter keeps the beginning" } else { "" }
            );
            let kept = event.json.slice(..bytes.min(LETTER_BYTES_MAX));
            let numbered = Numbered::new(sequence, &event, source_time_ns, kept);
            let envelope = numbered.envelope(&self.instance, self.epoch);
            let letter = Letter::of_event(Reason::Oversized, "receive", &error, &envelope);
            tracing::warn!(entity = name, bytes, "an oversized event became a dead letter");
            return Taken::Letter(Box::new(letter));
        }
        let json = event.json.clone();
        Taken::Event(Numbered::new(sequence, &event, source_time_ns, json))
    }
}

impl Numbered {
    fn new(sequence: u64, event: &ReceivedEvent, source_time_ns: i64, json: Bytes) -> Self {
        Self {
            id: Uuid::now_v7(),
            sequence,
            received_at_ns: event.received_at_ns,
            source_time_ns,
            json,
            _permit: event.permit.clone(),
        }
    }

    /// The envelope of the wire, borrowing the event's bytes.
    #[must_use]
    pub fn envelope<'a>(&'a self, instance: &'a str, epoch: u64) -> Envelope<'a> {
        Envelope {
            id: self.id,
            instance: instance.into(),
            epoch: Some(epoch),
            sequence: Some(self.sequence),
            received_at_ns: self.received_at_ns,
            origin: Origin::Live,
            json: self.json.as_ref().into(),
        }
    }
}
