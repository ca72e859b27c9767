//! Reports the quality of the stream: an internal event at the start, at every interval and at the
//! end of a run, and the alerts that follow from it.

use crate::observe::alerts::Alerting;
use crate::observe::internal_event::Record;
use crate::observe::metrics::Totals;
use crate::observe::quality::{Counts, Quality, Samples};
use ha_enrich::{QUALITY_RECORD, QualityRecord};
use ha_source::Counters as SourceCounters;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// Makes records of what the parts counted.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// What the rules say.
    pub quality: Arc<Quality>,
    /// The source's counts.
    pub counters: Arc<SourceCounters>,
    /// The producer's counts.
    pub totals: Arc<Totals>,
}

impl Reporter {
    /// The record of now.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        self.record_of(self.counts()).0
    }

    fn record_of(&self, counts: Counts) -> (Option<Record>, Samples) {
        let (record, samples) = self.quality.record(counts);
        (Self::as_event(&record), samples)
    }

    fn as_event(record: &QualityRecord) -> Option<Record> {
        match Record::new(QUALITY_RECORD, record) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::warn!(%error, "the record of data_quality could not be written");
                None
            }
        }
    }

    /// Sends a record at once, and then one at every interval, for as long as the process runs, and
    /// has each judged.
    pub async fn report(
        self,
        interval: Duration,
        records: mpsc::Sender<Record>,
        mut alerting: Alerting,
    ) {
        let mut every = tokio::time::interval(interval);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let counts = self.counts();
            let (record, samples) = self.record_of(counts);
            alerting.observe(counts, &samples);
            if let Some(record) = record
                && records.send(record).await.is_err()
            {
                return;
            }
        }
    }

    fn counts(&self) -> Counts {
        let totals = &self.totals;
        // Before the numbers: what is counted as settled has one.
        let settled = totals.settled.load(Relaxed);
        Counts {
            received: self.counters.events_received.load(Relaxed),
            unreadable: totals.unreadable.load(Relaxed),
            filtered: totals.filtered.load(Relaxed),
            sequence_last: totals.accepted.load(Relaxed),
            settled,
            settling_us: totals.settling_us.load(Relaxed),
            confirmed: totals.confirmed.load(Relaxed),
            spooled: totals.spooled.load(Relaxed),
            lost: totals.lost.load(Relaxed),
        }
    }
}
