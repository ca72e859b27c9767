//! The process itself: its HTTP address, its logs, its end.

use crate::Problems;
use clap::Args;
use std::io::IsTerminal;
use std::net::SocketAddr;

/// Health, metrics and the end of the process.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Process")]
pub struct AdminArgs {
    /// Address of the status page (/), /healthz, /readyz, /metrics and /status
    #[arg(long, env = "ADMIN_ADDR", value_name = "ADDRESS")]
    pub admin_addr: Option<String>,
    /// Seconds to finish what is held after SIGTERM
    #[arg(
        long,
        env = "SHUTDOWN_GRACE_S",
        default_value = "25",
        value_name = "SECONDS"
    )]
    pub shutdown_grace_s: String,
}

impl AdminArgs {
    /// Checks the address.
    pub fn resolve_address(&self, problems: &mut Problems, default: &str) -> Option<SocketAddr> {
        let text = self.admin_addr.as_deref().unwrap_or(default);
        text.parse()
            .map_err(|_| problems.bad("ADMIN_ADDR", text, "an address such as 127.0.0.1:8100"))
            .ok()
    }

    /// Checks the grace.
    pub fn resolve_grace(&self, problems: &mut Problems) -> std::time::Duration {
        let grace = &self.shutdown_grace_s;
        let seconds = crate::number(problems, "SHUTDOWN_GRACE_S", grace, 1..=3_600_u64);
        std::time::Duration::from_secs(seconds)
    }
}

/// Alerts of the stream's quality.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Alerts")]
pub struct AlertArgs {
    /// Where alerts of the stream's quality are posted besides the log: an Alertmanager (such as
    /// http://alertmanager:9093), or the whole address of what takes its format (API v2)
    #[arg(
        long,
        env = "ALERT_WEBHOOK_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub alert_webhook_url: Option<String>,
}

impl AlertArgs {
    /// Checks the address; `None` where there is none, or after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<url::Url> {
        crate::home_assistant::url(
            problems,
            "ALERT_WEBHOOK_URL",
            self.alert_webhook_url.as_ref()?,
            &["http", "https"],
            "http://alertmanager:9093",
        )
    }
}

/// Logs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Process")]
pub struct LogArgs {
    /// pretty or json; unset: pretty on a terminal, json elsewhere
    #[arg(long, env = "LOG_FORMAT", value_name = "pretty|json")]
    pub log_format: Option<String>,
    /// What to log, such as info or ha_broker=debug,info; libraries log at info at most
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl LogArgs {
    /// Checks the format.
    pub fn resolve(&self, problems: &mut Problems) -> LogFormat {
        match self.log_format.as_deref() {
            Some("pretty") => LogFormat::Pretty,
            Some("json") => LogFormat::Json,
            Some(other) => {
                problems.bad("LOG_FORMAT", other, "pretty or json");
                LogFormat::Json
            }
            None if std::io::stderr().is_terminal() => LogFormat::Pretty,
            None => LogFormat::Json,
        }
    }
}
