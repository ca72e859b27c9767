//! What `/status` and `/readyz` say.

use crate::Mode;
use crate::deliver::router::Router;
use crate::deliver::workers::{Workers, follow_workers};
use crate::observe::alerts::{self, Alert};
use crate::observe::metrics::{Totals, route_state};
use crate::observe::quality::Quality;
use crate::receive::backfill::OpenGap;
use ha_broker::{Depths, PublisherState};
use ha_pipeline::{LatencyRecorder, LatestEvents, QualityRecorder, SinkState};
use ha_source::{ConnectionState, Counters};
use ha_spool::{Spool, SpoolStats};
use ha_telemetry::{Health, Rates, StatusSource};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

/// The state of the way out.
#[derive(Debug, Clone)]
pub enum RouteWatch {
    /// The broker, and how many messages wait there.
    Broker(
        watch::Receiver<PublisherState>,
        watch::Receiver<Option<Depths>>,
    ),
    /// The workers' intakes.
    Workers(watch::Receiver<Workers>),
    /// The pipeline of this process.
    Sink {
        /// The database.
        state: watch::Receiver<SinkState>,
        /// Latencies of what it stored.
        latency: Arc<LatencyRecorder>,
        /// What the rules said of it.
        quality: Arc<QualityRecorder>,
        /// The pipeline's counts.
        totals: Arc<ha_pipeline::Totals>,
    },
}

impl RouteWatch {
    /// Readiness by the broker or the workers; the sink has a follower of its own.
    pub fn follow(&self, health: &Health, beside: &mut JoinSet<()>) {
        match self {
            Self::Broker(state, _) => {
                beside.spawn(follow_broker(state.clone(), health.clone()));
            }
            Self::Workers(state) => {
                beside.spawn(follow_workers(state.clone(), health.clone()));
            }
            Self::Sink { .. } => {}
        }
    }
}

/// What the status is made of.
#[derive(Debug)]
pub struct StatusParts {
    /// The mode.
    pub mode: Mode,
    /// The home's name.
    pub instance: String,
    /// This run.
    pub run_id: u64,
    /// The connection to Home Assistant.
    pub connection: watch::Receiver<ConnectionState>,
    /// The source's counts.
    pub counters: Arc<Counters>,
    /// The producer's counts.
    pub totals: Arc<Totals>,
    /// What is known of the stream's quality.
    pub quality: Arc<Quality>,
    /// The alerts that are on.
    pub alerts: watch::Receiver<Vec<Alert>>,
    /// The way out.
    pub route: RouteWatch,
    /// Its breaker.
    pub router: Arc<Router>,
    /// The spool.
    pub spool: Spool,
    /// Readiness.
    pub health: Health,
    /// Of the last minutes.
    pub rates: Rates,
    /// For people who look.
    pub latest: LatestEvents,
    /// The gap that is not filled.
    pub open_gap: OpenGap,
}

impl StatusParts {
    /// Makes `/status` of the parts, again at each call.
    #[must_use]
    pub fn into_source(self) -> StatusSource {
        let started = Instant::now();
        Arc::new(move || self.status(started))
    }

    fn status(&self, started: Instant) -> Value {
        let (totals, counters) = (&self.totals, &self.counters);
        let spool = self.spool.stats();
        let mut status = json!({
            "binary": "producer",
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": started.elapsed().as_secs(),
            "mode": self.mode.as_str(),
            "instance": self.instance,
            "epoch": self.run_id,
            "not_ready": self.health.reasons(),
            "home_assistant": connection_status(&self.connection.borrow()),
            "events": {
                "received": counters.events_received.load(Relaxed),
                "filtered": totals.filtered.load(Relaxed),
                "accepted": totals.accepted.load(Relaxed),
                "confirmed": totals.confirmed.load(Relaxed),
                "spooled": totals.spooled.load(Relaxed),
                "drained": totals.drained.load(Relaxed),
                "direct_written": totals.direct_written.load(Relaxed),
                "dead_lettered": totals.dead_lettered.load(Relaxed),
                "backfilled": totals.backfilled.load(Relaxed),
                "lost": totals.lost.load(Relaxed),
                "unreadable": totals.unreadable.load(Relaxed),
            },
            "route": route_state(self.router.state()),
            "spool": {"events": spool.events, "bytes": spool.bytes, "disk_full": spool.disk_full},
            "gaps": self.open_gap.status(),
            "alerts": alerts::status(&self.alerts.borrow()),
            "reconnections": counters.reconnections.load(Relaxed),
            "rates": self.rates.status(),
            "latest_events": ha_telemetry::latest_events_status(&self.latest),
        });
        let Some(map) = status.as_object_mut() else {
            return status;
        };
        let mut dead_letters = totals.dead_lettered.load(Relaxed);
        let mut validated = self.quality.summary();
        match &self.route {
            RouteWatch::Broker(state, depths) => {
                map.insert(
                    "queues".into(),
                    ha_telemetry::queues_status(*depths.borrow()),
                );
                map.insert("broker".into(), broker_status(&state.borrow()));
            }
            RouteWatch::Workers(workers) => {
                map.insert("workers".into(), workers.borrow().status());
            }
            RouteWatch::Sink {
                state,
                latency,
                quality,
                totals,
            } => {
                dead_letters += totals.dead_lettered.load(Relaxed);
                map.insert("sink".into(), ha_telemetry::sink_status(&state.borrow()));
                ha_telemetry::latency_status(latency, map);
                // All events, and not a sample of them, where they are validated here.
                let all = quality.summary();
                if all.events > 0 {
                    validated = all;
                }
            }
        }
        map.insert("dead_letters".into(), dead_letters.into());
        let mut quality = ha_telemetry::quality_status(&validated);
        quality["capture"] = self.quality.capture().map(ha_telemetry::hundredths).into();
        map.insert("quality".into(), quality);
        status
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn connection_status(state: &ConnectionState) -> Value {
    match state {
        ConnectionState::Connecting => json!({"state": "connecting"}),
        ConnectionState::AuthInvalid { message } => {
            json!({"state": "auth_invalid", "reason": message})
        }
        ConnectionState::Connected { since, ha_version } => {
            json!({"state": "connected", "since": unix_seconds(*since), "version": ha_version})
        }
        ConnectionState::Disconnected { reason, since } => json!({
            "state": "disconnected", "since": unix_seconds(*since), "reason": reason.to_string(),
        }),
    }
}

fn broker_status(state: &PublisherState) -> Value {
    match state {
        PublisherState::Connecting => json!({"state": "connecting"}),
        PublisherState::Connected => json!({"state": "connected"}),
        PublisherState::Failed(reason) => json!({"state": "failed", "reason": reason}),
    }
}

/// Readiness by the connection to Home Assistant.
pub async fn follow_home_assistant(
    state: watch::Receiver<ConnectionState>,
    url: Url,
    health: Health,
) {
    // Scheme, host and port: whatever else stands in the URL may be a secret.
    let address = url.origin().ascii_serialization();
    let reason = |state: &ConnectionState| match state {
        ConnectionState::Connected { .. } => None,
        ConnectionState::Connecting => Some("connecting".into()),
        ConnectionState::AuthInvalid { message } => Some(format!(
            "HOME_ASSISTANT_TOKEN is refused ({message}); make a new long-lived access token in Home Assistant"
        )),
        ConnectionState::Disconnected { reason, .. } => Some(format!(
            "HOME_ASSISTANT_URL {address}: {reason}; trying again for ever"
        )),
    };
    health.follow("home_assistant", state, reason).await;
}

/// Readiness by the spool's disk.
pub async fn follow_spool(stats: watch::Receiver<SpoolStats>, health: Health) {
    let full = "the disk of SPOOL_PATH is full; make room there";
    let reason = |stats: &SpoolStats| stats.disk_full.then(|| full.to_owned());
    health.follow("spool", stats, reason).await;
}

/// Readiness by the connection to the broker.
async fn follow_broker(state: watch::Receiver<PublisherState>, health: Health) {
    let reason = |state: &PublisherState| match state {
        PublisherState::Connected => None,
        PublisherState::Connecting => Some("connecting".into()),
        PublisherState::Failed(reason) => Some(reason.clone()),
    };
    health.follow("broker", state, reason).await;
}
