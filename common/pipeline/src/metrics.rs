//! The pipeline's metrics: every name and label value in one place, handles made once.

use crate::latest::LatestEvents;
use crate::letter::Reason;
use metrics::{Counter, Gauge, Histogram, Unit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start that `/status` shows too. They only rise; read them relaxed.
#[derive(Debug, Default)]
pub struct Totals {
    /// Events that came in.
    pub received: AtomicU64,
    /// Points that the database stored.
    pub stored: AtomicU64,
    /// Dead letters written.
    pub dead_lettered: AtomicU64,
}

/// Registers names, units and help texts, once a process.
pub fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "ha_ingestor_enrich_events_total",
        "Events that left enrichment, by outcome"
    );
    describe_histogram!(
        "ha_ingestor_enrich_normalization_duration_seconds",
        Unit::Seconds,
        "Decoding and enriching one frame"
    );
    describe_counter!(
        "ha_ingestor_sink_points_written_total",
        "Points that the database stored"
    );
    describe_histogram!(
        "ha_ingestor_sink_write_duration_seconds",
        Unit::Seconds,
        "One write to the database, its answer included"
    );
    describe_counter!(
        "ha_ingestor_sink_retries_total",
        "Writes made again, by reason"
    );
    describe_gauge!(
        "ha_ingestor_sink_available",
        "1 while the database takes writes, else 0"
    );
    describe_counter!(
        "ha_ingestor_dead_letters_total",
        "Dead letters written, by reason"
    );
    describe_histogram!(
        "ha_ingestor_event_latency_seconds",
        Unit::Seconds,
        "Source time to stored, live events"
    );
}

#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub totals: Arc<Totals>,
    pub latest: LatestEvents,
    pub enriched: Counter,
    pub invalid: Counter,
    pub panicked: Counter,
    pub without_fields: Counter,
    pub frame_duration: Histogram,
    points_written: Counter,
    pub write_duration: Histogram,
    pub retries_unavailable: Counter,
    pub retries_refused: Counter,
    pub sink_available: Gauge,
    pub event_latency: Histogram,
    dead_letters: Vec<(Reason, Counter)>,
}

impl Metrics {
    pub fn new() -> Self {
        use metrics::{counter, gauge, histogram};
        let outcome = |outcome| counter!("ha_ingestor_enrich_events_total", "outcome" => outcome);
        let retries = |reason| counter!("ha_ingestor_sink_retries_total", "reason" => reason);
        let metrics = Self {
            totals: Arc::default(),
            latest: LatestEvents::default(),
            enriched: outcome("enriched"),
            invalid: outcome("invalid"),
            panicked: outcome("panicked"),
            without_fields: outcome("without_fields"),
            frame_duration: histogram!("ha_ingestor_enrich_normalization_duration_seconds"),
            points_written: counter!("ha_ingestor_sink_points_written_total"),
            write_duration: histogram!("ha_ingestor_sink_write_duration_seconds"),
            retries_unavailable: retries("unavailable"),
            retries_refused: retries("refused"),
            sink_available: gauge!("ha_ingestor_sink_available"),
            event_latency: histogram!("ha_ingestor_event_latency_seconds"),
            dead_letters: Reason::ALL
                .map(|reason| {
                    let name = "ha_ingestor_dead_letters_total";
                    (reason, counter!(name, "reason" => reason.as_str()))
                })
                .into(),
        };
        metrics.sink_available.set(1.0);
        for counter in [
            &metrics.enriched,
            &metrics.invalid,
            &metrics.panicked,
            &metrics.without_fields,
            &metrics.points_written,
            &metrics.retries_unavailable,
            &metrics.retries_refused,
        ]
        .into_iter()
        .chain(metrics.dead_letters.iter().map(|(_, counter)| counter))
        {
            counter.increment(0);
        }
        metrics
    }

    pub fn points_written(&self, points: u64) {
        self.totals.stored.fetch_add(points, Ordering::Relaxed);
        self.points_written.increment(points);
    }

    pub fn dead_letter(&self, reason: Reason) {
        self.totals.dead_lettered.fetch_add(1, Ordering::Relaxed);
        for (of, counter) in &self.dead_letters {
            if *of == reason {
                counter.increment(1);
            }
        }
    }
}
