//! What is logged: a filter that can be changed while the process runs.

use std::sync::{Arc, Mutex, PoisonError};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::{EnvFilter, Registry, reload};

/// The most detailed level that crates of others log at, whatever the filter asks for. Below it
/// they print what they send: tungstenite the `auth` message with Home Assistant's token, lapin the
/// login with the password, HTTP clients their headers.
const LEVEL_OF_OTHERS: Level = Level::INFO;

/// Whether a line may be logged at all. The target is a module path, so its first part is a crate.
fn may_be_logged(target: &str, level: Level) -> bool {
    let name = target.split("::").next().unwrap_or_default();
    let is_ours = name.starts_with("ha_") || matches!(name, "producer" | "worker");
    is_ours || level <= LEVEL_OF_OTHERS
}

/// Keeps secrets out of the log. It is a layer beside the filter and not a part of it, so no
/// directive gets around it. Records of the `log` crate pass it by their own target.
pub(super) fn cap() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    // Without a level hint, so that the filter's own still decides how early a line is given up.
    filter_fn(|metadata| may_be_logged(metadata.target(), *metadata.level()))
}

/// A text that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a filter ({reason}); use a level such as info, or ha_broker=debug,info")]
pub struct FilterError {
    /// As given.
    text: String,
    /// What is wrong with it.
    reason: String,
}

/// Reads a filter.
///
/// # Errors
/// [`FilterError`]. A word alone that is no level is one: as a target it would silence all others,
/// which is what a misspelt level must not do.
pub(super) fn parse(text: &str) -> Result<EnvFilter, FilterError> {
    let error = |reason: String| FilterError {
        text: text.to_owned(),
        reason,
    };
    let parts: Vec<_> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    let is_misspelt = |part: &&&str| {
        !part.contains(['=', '[', ']', '{', '}']) && part.parse::<LevelFilter>().is_err()
    };
    if parts.is_empty() {
        return Err(error("it is empty".into()));
    }
    if let Some(part) = parts.iter().find(is_misspelt) {
        let levels = "off, error, warn, info, debug or trace";
        return Err(error(format!("{part:?} is none of {levels}")));
    }
    // lapin logs every failure of a connection as an error, several times; our own loops say it
    // once, with what happens next.
    let quiet = if text.contains("lapin") {
        ""
    } else {
        ",lapin=off"
    };
    EnvFilter::try_new(parts.join(",") + quiet).map_err(|reason| error(reason.to_string()))
}

/// What is logged, and the way to change it.
#[derive(Debug, Clone)]
pub(crate) struct LogLevel {
    filter: Arc<Mutex<String>>,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl LogLevel {
    pub(crate) fn new(filter: &str, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        Self {
            filter: Arc::new(Mutex::new(filter.to_owned())),
            handle,
        }
    }

    /// The filter, as it was given.
    pub fn current(&self) -> String {
        let filter = self.filter.lock();
        filter.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs by another filter from now on.
    ///
    /// # Errors
    /// [`FilterError`]; nothing has changed then.
    pub fn change(&self, text: &str) -> Result<(), FilterError> {
        let parsed = parse(text)?;
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.handle.reload(parsed);
        changed.map_err(|reason| FilterError {
            text: text.to_owned(),
            reason: reason.to_string(),
        })?;
        text.clone_into(&mut filter);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_and_targets_are_read_and_what_would_silence_the_log_is_not() {
        for good in [
            "info",
            "WARN",
            "off",
            "ha_broker=debug,info",
            " debug , hyper=off ",
            "[frame{count=1}]=debug",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for (bad, said) in [
            ("", "empty"),
            (" , ", "empty"),
            ("inof", "\"inof\" is none of off, error"),
            ("info,loud", "\"loud\" is none of"),
            ("ha_broker=loud", "such as info, or ha_broker=debug"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(said), "{bad:?}: {error}");
        }
    }

    #[test]
    fn crates_of_others_log_at_info_at_most_and_ours_at_every_level() {
        for (target, most) in [
            ("ha_broker::publisher", Level::TRACE),
            ("ha_telemetry", Level::TRACE),
            ("producer::intake", Level::TRACE),
            ("worker", Level::TRACE),
            ("tungstenite::protocol", Level::INFO),
            ("tokio_tungstenite", Level::INFO),
            ("lapin", Level::INFO),
            ("lapin::channel", Level::INFO),
            ("hyper_util::client::legacy::pool", Level::INFO),
            ("opentelemetry-otlp", Level::INFO),
            ("log", Level::INFO),
            ("worker_of_somebody", Level::INFO),
            ("hash", Level::INFO),
            ("", Level::INFO),
        ] {
            for level in [
                Level::ERROR,
                Level::WARN,
                Level::INFO,
                Level::DEBUG,
                Level::TRACE,
            ] {
                assert_eq!(
                    may_be_logged(target, level),
                    level <= most,
                    "{target} {level}"
                );
            }
        }
    }
}
