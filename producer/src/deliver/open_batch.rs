//! The batch that is filling.

use crate::deliver::encoded::EncodedBatch;
use crate::receive::intake::Numbered;
use crate::receive::registry::EntityRow;
use ha_batch::{Batch, EntityFacts, HomeFacts};
use ha_pipeline::now_ns;
use ha_settings::BatchingSettings;
use tokio::time::Instant;

/// Events that leave together.
#[derive(Debug, Default)]
pub struct OpenBatch {
    events: Vec<Numbered>,
    bytes: usize,
    /// Those that are the producer's own.
    records: u32,
    /// Those that have a number.
    live: u64,
    /// When the first of them was received, nanoseconds since 1970.
    received_at_ns: i64,
    /// The oldest and the newest source time.
    span_ns: Option<(i64, i64)>,
    opened_at: Option<Instant>,
}

/// What is counted when a batch is safe.
#[derive(Debug)]
pub struct Safe {
    /// Numbered events and oversized ones, which have a number too.
    pub live: u64,
    /// When the first of those was received, nanoseconds since 1970.
    pub received_at_ns: i64,
    /// The oldest and the newest source time; `None` where nothing says how far Home Assistant's
    /// events were read.
    pub span_ns: Option<(i64, i64)>,
}

impl OpenBatch {
    /// Takes an event in.
    pub fn push(&mut self, event: Numbered) {
        if self.live == 0 {
            self.received_at_ns = event.received_at_ns;
        }
        self.live += u64::from(event.is_live());
        match event.source_time_ns {
            Some(time_ns) => {
                let (oldest_ns, newest_ns) = self.span_ns.unwrap_or((time_ns, time_ns));
                self.span_ns = Some((oldest_ns.min(time_ns), newest_ns.max(time_ns)));
            }
            None => self.records += 1,
        }
        self.bytes += event.json.len();
        self.events.push(event);
        self.opened_at.get_or_insert_with(Instant::now);
    }

    /// When its first event came; `None` while it is empty.
    pub fn opened_at(&self) -> Option<Instant> {
        self.opened_at
    }

    /// Source time of its oldest event, nanoseconds since 1970.
    pub fn oldest_ns(&self) -> Option<i64> {
        self.span_ns.map(|(oldest_ns, _)| oldest_ns)
    }

    /// Whether it holds as much as it may.
    pub fn is_full(&self, limits: &BatchingSettings) -> bool {
        self.events.len() >= limits.events_max || self.bytes >= limits.bytes_max
    }

    /// The batch as it goes over the wire, and its span, which ends when the batch is safe.
    ///
    /// # Errors
    /// An event that cannot be encoded: a defect, since events are bounded.
    pub fn encode(
        self,
        instance: &str,
        run_id: u64,
        home: Option<HomeFacts<'_>>,
    ) -> anyhow::Result<(EncodedBatch, Safe, ha_trace::Span)> {
        let envelopes: Vec<_> = self
            .events
            .iter()
            .map(|event| event.envelope(instance, run_id))
            .collect();
        let count = envelopes.len() as u32;
        let received_at_ns = envelopes.first().map_or(0, |first| first.received_at_ns);
        let span = ha_trace::batch(received_at_ns, count);
        let mut batch = Batch::new(envelopes);
        batch.home = home;
        batch.entities = entities(&self.events);
        let mut payload = Vec::with_capacity(self.bytes + 160 * self.events.len() + 256);
        ha_batch::encode(&batch, &mut payload)?;
        let batch = EncodedBatch {
            payload: payload.into(),
            envelopes: count,
            events: count - self.records,
            oldest_ns: self.oldest_ns().unwrap_or_else(now_ns),
            is_first_offer: true,
            trace: span.context(),
        };
        let safe = Safe {
            live: self.live,
            received_at_ns: self.received_at_ns,
            span_ns: self.span_ns,
        };
        Ok((batch, safe, span))
    }
}

/// The facts of the events' entities, each once.
fn entities(events: &[Numbered]) -> Vec<EntityFacts<'_>> {
    let mut rows: Vec<&EntityRow> = events
        .iter()
        .filter_map(|event| event.facts.as_deref())
        .collect();
    rows.sort_unstable_by(|one, other| one.record.entity_id.cmp(&other.record.entity_id));
    rows.dedup_by(|one, other| one.record.entity_id == other.record.entity_id);
    rows.into_iter().filter_map(EntityRow::facts).collect()
}
