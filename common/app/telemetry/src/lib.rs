//! Logs, metrics, health and the end of a process.

mod admin;
mod health;
mod logs;
mod page;
mod prometheus;
mod rates;
mod shutdown;

pub use admin::{Admin, AdminError, StatusSource};
pub use health::Health;
pub use logs::{FilterError, LogError, init_logs, report_suppressed, say_suppressed};
pub use prometheus::{MetricsError, install_metrics};
pub use rates::Rates;
pub use shutdown::shutdown_token;
