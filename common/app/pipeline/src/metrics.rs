//! The metrics of the pipeline, which both binaries export; handles are made once.

use crate::dead_letter::Reason;
use crate::latest::LatestEvents;
use crate::quality::BatchQuality;
use crate::weather::Lookup;
use ha_enrich::RULES;
use ha_sink::{LeftOut, LeftOutReason};
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
    describe_counter!(
        "ha_ingestor_enrich_validation_errors_total",
        "Events that broke a rule, by rule"
    );
    describe_counter!(
        "ha_ingestor_weather_lookups_total",
        "State changes that weather was looked up for, by outcome; all but hit and stale go without"
    );
    ha_weather::describe();
    describe_histogram!(
        "ha_ingestor_enrich_quality_score",
        "Quality scores of events, 0 to 100; mean of a fleet: sum(rate(_sum)) / sum(rate(_count))"
    );
    describe_counter!(
        "ha_ingestor_enrich_attributes_left_out_total",
        "Attributes that became no field, by reason: by the settings, or because the database does not take them"
    );
    describe_histogram!(
        "ha_ingestor_enrich_normalization_duration_seconds",
        Unit::Seconds,
        "Decoding and enriching one batch"
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
    pub filtered: Counter,
    pub without_fields: Counter,
    pub batch_duration: Histogram,
    points_written: Counter,
    pub write_duration: Histogram,
    pub retries_unavailable: Counter,
    pub retries_refused: Counter,
    pub sink_available: Gauge,
    pub event_latency: Histogram,
    dead_letters: Vec<(Reason, Counter)>,
    /// In the order of the rules.
    broken_rules: Vec<Counter>,
    quality_score: Histogram,
    attributes_unchanged: Counter,
    attributes_excluded: Counter,
    attributes_not_wanted: Counter,
    /// In the order of [`LeftOutReason::ALL`].
    attributes_not_taken: Vec<Counter>,
    /// In the order of [`Lookup::ALL`].
    weather_lookups: Vec<Counter>,
}

impl Metrics {
    pub fn new() -> Self {
        use metrics::{counter, gauge, histogram};
        let outcome = |outcome| counter!("ha_ingestor_enrich_events_total", "outcome" => outcome);
        let retries = |reason| counter!("ha_ingestor_sink_retries_total", "reason" => reason);
        let left_out =
            |reason| counter!("ha_ingestor_enrich_attributes_left_out_total", "reason" => reason);
        let broken = |id| counter!("ha_ingestor_enrich_validation_errors_total", "rule" => id);
        let metrics = Self {
            broken_rules: RULES.iter().map(|rule| broken(rule.id)).collect(),
            weather_lookups: Lookup::ALL
                .iter()
                .map(|lookup| {
                    let name = "ha_ingestor_weather_lookups_total";
                    counter!(name, "outcome" => lookup.as_str())
                })
                .collect(),
            quality_score: histogram!("ha_ingestor_enrich_quality_score"),
            attributes_unchanged: left_out("unchanged"),
            attributes_excluded: left_out("excluded"),
            attributes_not_wanted: left_out("none_wanted"),
            attributes_not_taken: LeftOutReason::ALL
                .iter()
                .map(|reason| left_out(reason.as_str()))
                .collect(),
            totals: Arc::default(),
            latest: LatestEvents::default(),
            enriched: outcome("enriched"),
            invalid: outcome("invalid"),
            panicked: outcome("panicked"),
            filtered: outcome("filtered"),
            without_fields: outcome("without_fields"),
            batch_duration: histogram!("ha_ingestor_enrich_normalization_duration_seconds"),
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
            &metrics.attributes_unchanged,
            &metrics.attributes_excluded,
            &metrics.attributes_not_wanted,
        ]
        .into_iter()
        .chain(&metrics.broken_rules)
        .chain(&metrics.attributes_not_taken)
        .chain(&metrics.weather_lookups)
        .chain(metrics.dead_letters.iter().map(|(_, counter)| counter))
        {
            counter.increment(0);
        }
        metrics
    }

    /// What became of the weather of one batch's events.
    pub fn weather(&self, lookups: &[u64]) {
        for (counter, count) in self.weather_lookups.iter().zip(lookups) {
            if *count > 0 {
                counter.increment(*count);
            }
        }
    }

    /// What the rules and filters said of one batch's events.
    pub fn quality(&self, batch: &BatchQuality) {
        for (tens, count) in batch.scores.iter().enumerate().filter(|(_, n)| **n > 0) {
            self.quality_score
                .record_many(tens as f64 * 10.0, *count as usize);
        }
        for (counter, count) in self.broken_rules.iter().zip(&batch.rules) {
            if *count > 0 {
                counter.increment(u64::from(*count));
            }
        }
        self.attributes_unchanged.increment(batch.unchanged);
        self.attributes_excluded.increment(batch.excluded);
        self.attributes_not_wanted.increment(batch.none_wanted);
    }

    /// Attributes that were left out of stored points because the database does not take them.
    pub fn not_taken(&self, left_out: &LeftOut) {
        for (reason, counter) in LeftOutReason::ALL.iter().zip(&self.attributes_not_taken) {
            counter.increment(left_out.count(*reason));
        }
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
