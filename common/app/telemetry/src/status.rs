//! What both binaries say of the same parts.

use crate::Health;
use base64::Engine;
use ha_broker::{Depths, topology};
use ha_pipeline::{LatencyRecorder, LatestEvents, QualitySummary, SINK_PAUSE_MAX, SinkState};
use ha_resilience::Backoff;
use ha_sink::Sink;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Not ready while the database is away or refuses for a reason that only settings can remedy. Until
/// the first write has told, a probe does.
pub async fn follow_sink(sink: Arc<Sink>, mut state: watch::Receiver<SinkState>, health: Health) {
    let part = "database";
    let probing = async {
        let mut backoff = Backoff::new(Duration::from_secs(1), SINK_PAUSE_MAX);
        while let Err(error) = sink.probe().await {
            health.not_ready(part, error.to_string());
            tokio::time::sleep(backoff.next_random()).await;
        }
        health.ready(part);
    };
    tokio::select! {
        () = probing => {}
        changed = state.changed() => if changed.is_err() { return },
    }
    let reason = |state: &SinkState| match state {
        SinkState::Available => None,
        SinkState::Unavailable(reason) | SinkState::Refused(reason) => Some(reason.clone()),
    };
    health.follow(part, state, reason).await;
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

/// Rules in `/status` at most.
const TOP_RULES_MAX: usize = 10;

/// Two digits behind the point are enough for people.
#[must_use]
pub fn hundredths(score: f64) -> f64 {
    (score * 100.0).round() / 100.0
}

/// `quality` of `/status`: what the rules said of the events of this process.
#[must_use]
pub fn quality_status(summary: &QualitySummary) -> Value {
    let rules = summary.rules.iter().take(TOP_RULES_MAX);
    let rules: Vec<_> = rules
        .map(|(rule, events)| json!({"rule": rule, "events": events}))
        .collect();
    json!({
        "events": summary.events,
        "score": hundredths(summary.score),
        "latest_score": hundredths(summary.latest_score),
        "top_rules": rules,
    })
}

/// `latest_events` of `/status`, the latest first. The texts are Home Assistant's, as they came.
#[must_use]
pub fn latest_events_status(latest: &LatestEvents) -> Value {
    let event = |event: ha_pipeline::LatestEvent| json!({"entity_id": event.entity_id, "state": event.state, "time_ms": event.time_ms});
    latest.events().into_iter().map(event).collect()
}

/// `queues` of `/status`: messages that are ready in each; null while the broker does not say.
#[must_use]
pub fn queues_status(depths: Option<Depths>) -> Value {
    let Some(depths) = depths else {
        return Value::Null;
    };
    json!({
        topology::EVENTS_QUEUE: depths.events,
        topology::SUSPECTS_QUEUE: depths.suspects,
        topology::DEAD_LETTERS_QUEUE: depths.dead_letters,
    })
}
