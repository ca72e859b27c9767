use crate::Health;
use crate::logs::LogLevel;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;

/// What `/status` answers, made at every call.
pub type StatusSource = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) metrics: PrometheusHandle,
    pub(super) health: Health,
    pub(super) status: StatusSource,
    pub(super) log_level: Option<LogLevel>,
}
