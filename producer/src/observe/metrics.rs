//! The producer's metrics: every name and label value in one place, handles made once.

use ha_filter::FilterReason;
use ha_pipeline::Reason;
use ha_resilience::State;
use ha_spool::SpoolError;
use metrics::{Counter, Gauge, Unit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that `/status` shows too.
#[derive(Debug, Default)]
pub struct Totals {
    /// Events that entered a batch: the last sequence of this run.
    pub accepted: AtomicU64,
    /// Of those, events that are safe: with the route, in the spool, or dead letters.
    pub settled: AtomicU64,
    /// Microseconds from the socket until they were safe, together.
    pub settling_us: AtomicU64,
    /// Events left out by the filters.
    pub filtered: AtomicU64,
    /// Live events of batches that the route confirmed.
    pub confirmed: AtomicU64,
    /// Events that went to the spool.
    pub spooled: AtomicU64,
    /// Events that left the spool through the route.
    pub drained: AtomicU64,
    /// Events whose points were written straight to the database.
    pub direct_written: AtomicU64,
    /// Events that became dead letters here.
    pub dead_lettered: AtomicU64,
    /// Events that gap fill brought.
    pub backfilled: AtomicU64,
    /// Events lost for good.
    pub lost: AtomicU64,
    /// Parts of the stream that were no messages.
    pub unreadable: AtomicU64,
}

/// Handles.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The same counts for `/status`.
    pub totals: Arc<Totals>,
    confirmed: Counter,
    spooled: Counter,
    drained: Counter,
    backfilled: Counter,
    direct_written: Counter,
    lost_to_overflow: Counter,
    spool_failures: Counter,
    pub(super) spool_events: Gauge,
    pub(super) spool_bytes: Gauge,
    pub(super) spool_oldest_age: Gauge,
    pub(super) route_state: Vec<(&'static str, Gauge)>,
    filtered: Vec<(FilterReason, Counter)>,
    pub(super) received: Counter,
    pub(super) reconnections: Counter,
    pub(super) gap_open: Gauge,
    pub(super) history_refused: Counter,
    pub(super) uptime: Gauge,
}

impl Metrics {
    /// Describes and makes all of them.
    #[must_use]
    pub fn new() -> Self {
        use metrics::{counter, describe_counter, describe_gauge, gauge};
        describe_counter!(
            "ha_ingestor_ws_events_received_total",
            "Events read from Home Assistant"
        );
        describe_counter!(
            "ha_ingestor_ws_reconnections_total",
            "Connections after the first"
        );
        describe_gauge!(
            "ha_ingestor_ws_connection_uptime_seconds",
            Unit::Seconds,
            "Age of the connection to Home Assistant; 0 while there is none"
        );
        describe_counter!(
            "ha_ingestor_events_published_total",
            "Events handed to the route, by outcome"
        );
        describe_counter!(
            "ha_ingestor_events_lost_total",
            "Events lost for good, by reason"
        );
        describe_counter!(
            "ha_ingestor_events_direct_written_total",
            "Events whose points went straight to the database while the broker was away"
        );
        describe_counter!(
            "ha_ingestor_backfilled_events_total",
            "Events that gap fill brought"
        );
        describe_gauge!(
            "ha_ingestor_gap_open_seconds",
            Unit::Seconds,
            "Time since the beginning of the gap that is not filled; 0 while there is none"
        );
        describe_counter!(
            "ha_ingestor_history_refused_total",
            "Requests for a gap's history that Home Assistant refused"
        );
        describe_counter!(
            "ha_ingestor_spool_failures_total",
            "Appends that the spool refused"
        );
        describe_gauge!("ha_ingestor_spool_events", "Events that wait in the spool");
        describe_gauge!(
            "ha_ingestor_spool_bytes",
            Unit::Bytes,
            "Bytes of batches in the spool"
        );
        describe_gauge!(
            "ha_ingestor_spool_oldest_age_seconds",
            Unit::Seconds,
            "Age of the oldest event in the spool, by its source time"
        );
        describe_gauge!(
            "ha_ingestor_route_state",
            "1 for the state that the route is in"
        );
        describe_counter!(
            "ha_ingestor_events_filtered_total",
            "Events left out, by reason"
        );
        let published =
            |outcome| counter!("ha_ingestor_events_published_total", "outcome" => outcome);
        let name = "ha_ingestor_events_filtered_total";
        let metrics = Self {
            totals: Arc::default(),
            confirmed: published("confirmed"),
            spooled: published("spooled"),
            drained: published("drained"),
            direct_written: counter!("ha_ingestor_events_direct_written_total"),
            backfilled: counter!("ha_ingestor_backfilled_events_total"),
            lost_to_overflow: counter!("ha_ingestor_events_lost_total", "reason" => "spool_overflow"),
            spool_failures: counter!("ha_ingestor_spool_failures_total"),
            spool_events: gauge!("ha_ingestor_spool_events"),
            spool_bytes: gauge!("ha_ingestor_spool_bytes"),
            spool_oldest_age: gauge!("ha_ingestor_spool_oldest_age_seconds"),
            route_state: ["passing", "blocked", "probing"]
                .map(|state| (state, gauge!("ha_ingestor_route_state", "state" => state)))
                .into(),
            filtered: FilterReason::ALL
                .map(|reason| (reason, counter!(name, "reason" => reason.as_str())))
                .into(),
            received: counter!("ha_ingestor_ws_events_received_total"),
            reconnections: counter!("ha_ingestor_ws_reconnections_total"),
            gap_open: gauge!("ha_ingestor_gap_open_seconds"),
            history_refused: counter!("ha_ingestor_history_refused_total"),
            uptime: gauge!("ha_ingestor_ws_connection_uptime_seconds"),
        };
        for counter in [
            &metrics.confirmed,
            &metrics.spooled,
            &metrics.drained,
            &metrics.backfilled,
            &metrics.direct_written,
            &metrics.lost_to_overflow,
            &metrics.spool_failures,
        ] {
            counter.increment(0);
        }
        metrics
            .filtered
            .iter()
            .for_each(|(_, counter)| counter.increment(0));
        metrics
    }

    /// A live batch was confirmed.
    pub fn confirmed(&self, events: u64) {
        self.totals.confirmed.fetch_add(events, Ordering::Relaxed);
        self.confirmed.increment(events);
    }

    /// A batch is in the spool.
    pub fn spooled(&self, events: u64) {
        self.totals.spooled.fetch_add(events, Ordering::Relaxed);
        self.spooled.increment(events);
    }

    /// Batches of the spool were confirmed.
    pub fn drained(&self, events: u64) {
        self.totals.drained.fetch_add(events, Ordering::Relaxed);
        self.drained.increment(events);
    }

    /// Events became dead letters before any route saw them.
    pub fn dead_lettered(&self, reasons: &[Reason]) {
        self.totals
            .dead_lettered
            .fetch_add(reasons.len() as u64, Ordering::Relaxed);
        for reason in reasons {
            metrics::counter!("ha_ingestor_dead_letters_total", "reason" => reason.as_str())
                .increment(1);
        }
    }

    /// Points went straight to the database.
    pub fn direct_written(&self, events: u64) {
        self.totals
            .direct_written
            .fetch_add(events, Ordering::Relaxed);
        self.direct_written.increment(events);
    }

    /// Gap fill brought an event.
    pub fn backfilled(&self) {
        self.totals.backfilled.fetch_add(1, Ordering::Relaxed);
        self.backfilled.increment(1);
    }

    /// The spool was full, and the oldest events went.
    pub fn lost_to_overflow(&self, events: u64) {
        let before = self.totals.lost.fetch_add(events, Ordering::Relaxed);
        self.lost_to_overflow.increment(events);
        if before == 0 {
            tracing::error!(
                "the spool is full (SPOOL_BYTES_MAX): the oldest events are being lost"
            );
        }
    }

    /// The spool refused a batch. No line in the log an attempt: the counter and `/readyz` say it.
    pub fn spool_failed(&self, error: &SpoolError) {
        self.spool_failures.increment(1);
        tracing::debug!(%error, "the spool refused a batch");
    }

    /// An event was left out.
    pub fn filtered(&self, reason: FilterReason) {
        self.totals.filtered.fetch_add(1, Ordering::Relaxed);
        for (of, counter) in &self.filtered {
            if *of == reason {
                counter.increment(1);
            }
        }
    }
}

/// The word for the breaker's state.
#[must_use]
pub fn route_state(state: State) -> &'static str {
    match state {
        State::Passing => "passing",
        State::Blocked { .. } => "blocked",
        State::Probing => "probing",
    }
}
