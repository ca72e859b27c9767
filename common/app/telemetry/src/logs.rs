//! Logs go to standard error: standard output belongs to what a command prints.

mod filter;
mod line;
mod repeats;

pub use filter::FilterError;
pub(crate) use filter::LogLevel;

use line::Line;
use repeats::Repeats;
use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::format::{Format, JsonFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// How often it is looked whether there is something to say of repeated lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// The logs of this process.
static LOGS: OnceLock<Logs> = OnceLock::new();

struct Logs {
    level: LogLevel,
    repeats: Arc<Repeats>,
}

/// A log filter that cannot be read, or logging begun twice.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `RUST_LOG` is not a filter.
    #[error("RUST_LOG: {0}")]
    Filter(#[from] FilterError),
    /// Logging is already set up.
    #[error("logging is already set up")]
    Twice,
}

/// Sets up logging: one JSON object a line, or lines for people. Lines that are logged within a
/// sampled span carry its `trace_id` and `span_id`; of warnings and errors that repeat, most are
/// left out and counted (`suppressed`). Crates of others log at `info` at most: below that they
/// print tokens and passwords.
///
/// # Errors
/// [`LogError`]
pub fn init_logs(json: bool, filter: &str) -> Result<(), LogError> {
    let (parsed, reloading) = reload::Layer::new(filter::parse(filter)?);
    let repeats = Arc::new(Repeats::default());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        let format = Format::default().json();
        let format = format.flatten_event(true).with_current_span(false);
        let line = Line::json(format, Arc::clone(&repeats));
        let lines = lines.fmt_fields(JsonFields::new()).event_format(line);
        lines.boxed()
    } else {
        let colours = std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let line = Line::pretty(Format::default().with_ansi(colours), Arc::clone(&repeats));
        lines.with_ansi(colours).event_format(line).boxed()
    };
    let registry = Registry::default().with(parsed).with(filter::cap());
    let done = registry.with(lines).try_init();
    done.map_err(|_| LogError::Twice)?;
    let level = LogLevel::new(filter, reloading);
    LOGS.set(Logs { level, repeats })
        .map_err(|_| LogError::Twice)
}

/// What is logged, to change it; none where logging is not set up.
pub(crate) fn level() -> Option<LogLevel> {
    LOGS.get().map(|logs| logs.level.clone())
}

/// Says for as long as the process runs how many lines were left out of what no longer repeats.
pub async fn report_suppressed() {
    let mut every = tokio::time::interval(REPORT_INTERVAL);
    loop {
        every.tick().await;
        say(|repeats| repeats.ended(Instant::now()));
    }
}

/// Says what was left out, of all lines, at the end of the process.
pub fn say_suppressed() {
    say(Repeats::all);
}

fn say(of: impl FnOnce(&Repeats) -> Vec<repeats::Suppressed>) {
    let Some(logs) = LOGS.get() else { return };
    for repeats::Suppressed { line, suppressed } in of(&logs.repeats) {
        tracing::info!(line, suppressed, "lines that repeat were left out");
    }
}
