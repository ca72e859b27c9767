//! The producer's metrics: every name and label value in one place, handles made once.

use ha_filter::FilterReason;
use ha_source::{ConnectionState, Counters};
use metrics::{Counter, Gauge, Unit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// Counters that `/status` shows too.
#[derive(Debug, Default)]
pub struct Totals {
    /// Events that entered a frame: the last sequence of this run.
    pub accepted: AtomicU64,
    /// Events left out by the filters.
    pub filtered: AtomicU64,
    /// Events of frames that the route confirmed.
    pub delivered: AtomicU64,
    /// Deliveries that failed and were made again.
    pub retried: AtomicU64,
    /// Parts of the stream that were no messages.
    pub unreadable: AtomicU64,
}

/// Handles.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The same counts for `/status`.
    pub totals: Arc<Totals>,
    confirmed: Counter,
    retried: Counter,
    filtered: Vec<(FilterReason, Counter)>,
    received: Counter,
    reconnections: Counter,
    uptime: Gauge,
}

impl Metrics {
    /// Describes and makes all of them.
    #[must_use]
    pub fn new() -> Self {
        use metrics::{counter, describe_counter, describe_gauge, gauge};
        describe_counter!("ha_ingestor_ws_events_received_total", "Events read from Home Assistant");
        describe_counter!("ha_ingestor_ws_reconnections_total", "Connections after the first");
        describe_gauge!(
            "ha_ingestor_ws_connection_uptime_seconds",
            Unit::Seconds,
            "Age of the connection to Home Assistant; 0 while there is none"
        );
        describe_counter!("ha_ingestor_events_published_total", "Events handed to the route, by outcome");
        describe_counter!("ha_ingestor_events_filtered_total", "Events left out, by reason");
        let published = |outcome| counter!("ha_ingestor_events_published_total", "outcome" => outcome);
        let name = "ha_ingestor_events_filtered_total";
        let metrics = Self {
            totals: Arc::default(),
            confirmed: published("confirmed"),
            retried: published("retried"),
            filtered: FilterReason::ALL
                .map(|reason| (reason, counter!(name, "reason" => reason.as_str())))
                .into(),
            received: counter!("ha_ingestor_ws_events_received_total"),
            reconnections: counter!("ha_ingestor_ws_reconnections_total"),
            uptime: gauge!("ha_ingestor_ws_connection_uptime_seconds"),
        };
        metrics.confirmed.increment(0);
        metrics.retried.increment(0);
        metrics.filtered.iter().for_each(|(_, counter)| counter.increment(0));
        metrics
    }

    /// A frame was confirmed.
    pub fn delivered(&self, events: u64) {
        self.totals.delivered.fetch_add(events, Ordering::Relaxed);
        self.confirmed.increment(events);
    }

    /// A frame was not taken and is offered again.
    pub fn retried(&self, events: u64) {
        self.totals.retried.fetch_add(events, Ordering::Relaxed);
        self.retried.increment(events);
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

    /// Follows the source's own counters once a second, for as long as the process runs.
    pub async fn follow_source(
        self,
        counters: Arc<Counters>,
        state: watch::Receiver<ConnectionState>,
    ) {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        loop {
            every.tick().await;
            self.received.absolute(counters.events_received.load(Ordering::Relaxed));
            self.reconnections.absolute(counters.reconnections.load(Ordering::Relaxed));
            let uptime = match &*state.borrow() {
                ConnectionState::Connected { since, .. } => {
                    SystemTime::now().duration_since(*since).unwrap_or_default()
                }
                _ => Duration::ZERO,
            };
            self.uptime.set(uptime.as_secs_f64());
        }
    }
}
