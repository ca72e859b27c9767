//! What both binaries say of the same parts.

use base64::Engine;
use ha_pipeline::{LatencyRecorder, SinkState};
use ha_telemetry::Health;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

/// Not ready while the database is away or refuses for a reason that only settings can cure.
pub async fn follow_sink(mut state: watch::Receiver<SinkState>, health: Health) {
    loop {
        match &*state.borrow_and_update() {
            SinkState::Available => health.ready("database"),
            SinkState::Unavailable(reason) | SinkState::Refused(reason) => {
                health.not_ready("database", reason.as_str());
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// `sink` of `/status`.
#[must_use]
pub fn sink_status(state: &SinkState) -> Value {
    match state {
        SinkState::Available => json!({"state": "available"}),
        SinkState::Unavailable(reason) => json!({"state": "unavailable", "reason": reason}),
        SinkState::Refused(reason) => json!({"state": "refused", "reason": reason}),
    }
}

/// `latency_ms` and `latency_us_histogram` of `/status`: percentiles since the start, and the
/// whole histogram (HdrHistogram V2, base64), so that those of a fleet can be merged exactly.
pub fn latency_status(latency: &LatencyRecorder, status: &mut Map<String, Value>) {
    let (count, p50, p95, p99, max) = latency.summary();
    let summary = json!({"count": count, "p50": p50, "p95": p95, "p99": p99, "max": max});
    status.insert("latency_ms".into(), summary);
    let histogram = base64::engine::general_purpose::STANDARD.encode(latency.serialized());
    status.insert("latency_us_histogram".into(), histogram.into());
}
