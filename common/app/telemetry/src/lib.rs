//! Logs, metrics, health and the end of a process.

mod admin;
mod health;
mod logs;
mod page;
mod prometheus;
mod rates;
mod shutdown;
mod status;
mod traces;

pub use admin::{Admin, AdminError, StatusSource};
pub use health::Health;
pub use logs::{FilterError, LogError, init_logs, report_suppressed, say_suppressed};
pub use prometheus::{MetricsError, install_metrics};
pub use rates::Rates;
pub use shutdown::shutdown_token;
pub use status::{
    follow_sink, hundredths, latency_status, latest_events_status, quality_status, queues_status,
    sink_status,
};
pub use traces::{reported, traces};
