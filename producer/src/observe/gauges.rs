//! Samples what the parts count themselves into the metrics.

use crate::deliver::router::Router;
use crate::observe::metrics::{Metrics, route_state};
use crate::receive::backfill::OpenGap;
use ha_source::{ConnectionState, Counters};
use ha_spool::Spool;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Follows the parts' own counters once a second, for as long as the process runs.
pub async fn follow(
    metrics: Metrics,
    counters: Arc<Counters>,
    state: watch::Receiver<ConnectionState>,
    spool: Spool,
    router: Arc<Router>,
    open_gap: OpenGap,
) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        metrics
            .received
            .absolute(counters.events_received.load(Ordering::Relaxed));
        metrics
            .reconnections
            .absolute(counters.reconnections.load(Ordering::Relaxed));
        let uptime = match &*state.borrow() {
            ConnectionState::Connected { since, .. } => {
                SystemTime::now().duration_since(*since).unwrap_or_default()
            }
            _ => Duration::ZERO,
        };
        metrics.uptime.set(uptime.as_secs_f64());
        let stats = spool.stats();
        metrics.spool_events.set(stats.events as f64);
        metrics.spool_bytes.set(stats.bytes as f64);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let age = stats
            .oldest_ns
            .map_or(0.0, |oldest| now.as_secs_f64() - oldest as f64 / 1e9);
        metrics.spool_oldest_age.set(age.max(0.0));
        metrics.gap_open.set(open_gap.age_s(ha_pipeline::now_ns()));
        metrics.history_refused.absolute(open_gap.refused_total());
        let current = route_state(router.state());
        for (name, gauge) in &metrics.route_state {
            gauge.set(f64::from(u8::from(*name == current)));
        }
    }
}
