//! What is kept of the stream, and its numbers. Events are numbered after filtering, so that a gap
//! in the numbers is a loss; nothing behind this may leave an event out.

use crate::observe::internal_event::Record;
use crate::observe::metrics::Metrics;
use crate::observe::quality::Quality;
use crate::receive::backfill::BackfilledEvent;
use crate::receive::filtering::Filtering;
use crate::receive::home::Home;
use crate::receive::registry::{EntityRow, Registry};
use crate::receive::watermark::reached_ns;
use bytes::Bytes;
use ha_batch::{Envelope, Origin};
use ha_event::Peek;
use ha_pipeline::{DeadLetter, LatestEvents, Reason};
use ha_source::{QueuePermit, ReceivedEvent};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::watch;
use uuid::Uuid;

/// A dead letter keeps this much of an oversized event: brokers refuse messages over 16 MiB.
const DEAD_LETTER_BYTES_MAX: usize = 8 << 20;

/// Filters and numbers events.
#[derive(Debug)]
pub struct Intake {
    /// The home's name.
    pub instance: String,
    /// This run: milliseconds since 1970.
    pub run_id: u64,
    /// Which events are kept.
    pub filtering: Filtering,
    /// Larger events become dead letters.
    pub event_bytes_max: usize,
    /// Looks at a sample of the events.
    pub quality: Arc<Quality>,
    /// What the registries say.
    pub registry: watch::Receiver<Arc<Registry>>,
    /// For people who look.
    pub latest: LatestEvents,
    /// Facts that travel in batches; the weather's own events are among those that come by.
    pub home: Home,
    /// Counts.
    pub metrics: Metrics,
}

/// An event with its number, not yet in a batch.
#[derive(Debug)]
pub struct Numbered {
    id: Uuid,
    origin: Origin,
    /// The number of a live event.
    sequence: Option<u64>,
    /// When it was received, nanoseconds since the epoch.
    pub received_at_ns: i64,
    /// Source time, or when it was received where the event does not say or names a later time.
    /// None for a record, which says nothing of how far Home Assistant's events were read.
    pub source_time_ns: Option<i64>,
    /// What the registries say of its entity.
    pub facts: Option<Arc<EntityRow>>,
    /// The event's bytes.
    pub json: Bytes,
    _permit: Option<QueuePermit>,
}

/// What becomes of a received event.
#[derive(Debug)]
pub enum Taken {
    /// It goes into a batch.
    Event(Numbered),
    /// It is a dead letter already.
    DeadLetter(Box<DeadLetter>),
    /// The filters leave it out.
    Filtered,
}

impl Intake {
    /// Decides about one event. One whose facts cannot be read goes on: its dead letter is written
    /// where it is parsed whole, in the words of the parser.
    pub fn take(&mut self, event: ReceivedEvent) -> Taken {
        let json = &event.json;
        let read = event.facts.as_ref().and_then(|facts| facts.of(json));
        let peek = read.or_else(|| ha_event::peek(json).ok());
        let entity = peek.as_ref().and_then(|peek| peek.entity_id.as_deref());
        if let Some(entity) = entity {
            self.home.saw(entity, json);
        }
        if let Some(Err(reason)) = entity.map(|entity| self.filtering.decide(entity, json)) {
            self.metrics.filtered(reason);
            return Taken::Filtered;
        }
        let sequence = self.metrics.totals.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let source_time = peek.as_ref().and_then(|peek| peek.source_time);
        // Other event types put any text under `entity_id`. Home Assistant refuses the history of
        // every entity of a request that names one that cannot be an entity.
        let is_state_change = peek.as_ref().is_some_and(Peek::is_state_change);
        if let (Some(entity), Some(time), true) = (entity, source_time, is_state_change) {
            self.filtering.remember(entity, time);
        }
        let source_time_ns = source_time.map_or(event.received_at_ns, |time| {
            reached_ns(time.as_nanos(), event.received_at_ns)
        });
        let bytes = event.json.len();
        if bytes > self.event_bytes_max {
            let name = entity.unwrap_or("an event without an entity").to_owned();
            let error = format!(
                "{name}: {bytes} bytes are more than EVENT_BYTES_MAX ({}){}",
                self.event_bytes_max,
                if bytes > DEAD_LETTER_BYTES_MAX {
                    "; the dead letter keeps the beginning"
                } else {
                    ""
                }
            );
            let kept = event.json.slice(..bytes.min(DEAD_LETTER_BYTES_MAX));
            let numbered = Numbered::live(sequence, &event, source_time_ns, kept, None);
            let envelope = numbered.envelope(&self.instance, self.run_id);
            let dead_letter = DeadLetter::of_event(Reason::Oversized, "receive", &error, &envelope);
            tracing::warn!(
                entity = name,
                bytes,
                "an oversized event became a dead letter"
            );
            return Taken::DeadLetter(Box::new(dead_letter));
        }
        self.latest.offer(event.received_at_ns, &event.json);
        let json = event.json.clone();
        let facts = entity.and_then(|entity| self.facts(entity));
        let numbered = Numbered::live(sequence, &event, source_time_ns, json, facts);
        if self.quality.wants_event(Instant::now()) {
            self.quality
                .look_at(&numbered.envelope(&self.instance, self.run_id));
        }
        Taken::Event(numbered)
    }

    /// The same for an event that gap fill found. One that came before is not taken again: it is
    /// no backfill.
    pub fn take_backfilled(
        &mut self,
        event: BackfilledEvent,
        received_at_ns: i64,
    ) -> Option<Numbered> {
        if self
            .filtering
            .decide(&event.entity_id, &event.json)
            .is_err()
            || event.json.len() > self.event_bytes_max
            || !self.filtering.remember(&event.entity_id, event.time)
        {
            return None;
        }
        self.metrics.backfilled();
        let facts = self.facts(&event.entity_id);
        Some(Numbered {
            id: Uuid::now_v7(),
            origin: Origin::Backfill,
            sequence: None,
            received_at_ns,
            source_time_ns: Some(reached_ns(event.time.as_nanos(), received_at_ns)),
            facts,
            json: event.json,
            _permit: None,
        })
    }

    fn facts(&self, entity_id: &str) -> Option<Arc<EntityRow>> {
        self.registry.borrow().row(entity_id).map(Arc::clone)
    }
}

impl Numbered {
    fn live(
        sequence: u64,
        event: &ReceivedEvent,
        source_time_ns: i64,
        json: Bytes,
        facts: Option<Arc<EntityRow>>,
    ) -> Self {
        Self {
            id: Uuid::now_v7(),
            origin: Origin::Live,
            sequence: Some(sequence),
            received_at_ns: event.received_at_ns,
            source_time_ns: Some(source_time_ns),
            facts,
            json,
            _permit: Some(event.permit.clone()),
        }
    }

    /// Whether it has a number.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.sequence.is_some()
    }

    /// The envelope of the wire, borrowing the event's bytes.
    #[must_use]
    pub fn envelope<'a>(&'a self, instance: &'a str, run_id: u64) -> Envelope<'a> {
        Envelope {
            id: self.id,
            instance: instance.into(),
            run_id: self.sequence.map(|_| run_id),
            sequence: self.sequence,
            received_at_ns: self.received_at_ns,
            origin: self.origin,
            json: self.json.as_ref().into(),
        }
    }
}

impl From<Record> for Numbered {
    fn from(record: Record) -> Self {
        Self {
            id: Uuid::now_v7(),
            origin: Origin::Live,
            sequence: None,
            received_at_ns: record.time_ns,
            source_time_ns: None,
            facts: None,
            json: record.json,
            _permit: None,
        }
    }
}
