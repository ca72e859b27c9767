//! Logs go to standard error: standard output belongs to what a command prints.

use tracing_subscriber::EnvFilter;

/// A log filter that cannot be read, or logging begun twice.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `RUST_LOG` is not a filter.
    #[error(
        "RUST_LOG: {text:?} is not a filter ({reason}); use a level such as info, or ha_broker=debug,info"
    )]
    Filter {
        /// As given.
        text: String,
        /// The parser's words.
        reason: String,
    },
    /// Logging is already set up.
    #[error("logging is already set up")]
    Twice,
}

/// Sets up logging: one JSON object a line, or lines for people.
///
/// # Errors
/// [`LogError`]
pub fn init_logs(json: bool, filter: &str) -> Result<(), LogError> {
    // lapin logs every failure of a connection as an error, several times; our own loops say it
    // once, with what happens next.
    let quiet = if filter.contains("lapin") {
        ""
    } else {
        ",lapin=off"
    };
    let parsed =
        EnvFilter::try_new(format!("{filter}{quiet}")).map_err(|error| LogError::Filter {
            text: filter.to_owned(),
            reason: error.to_string(),
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr);
    let done = if json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init()
    } else {
        builder.try_init()
    };
    done.map_err(|_| LogError::Twice)
}
