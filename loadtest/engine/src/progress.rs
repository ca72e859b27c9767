//! What is going on, on standard error: a line that changes on a terminal, elsewhere a line every
//! few seconds.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Shows where a long command stands.
#[derive(Debug)]
pub struct Progress {
    /// `None` where standard error is not a terminal.
    bar: Option<ProgressBar>,
    plain_interval: Duration,
    last_plain: Mutex<Option<Instant>>,
}

impl Progress {
    /// Begins; on a terminal with a line that changes.
    #[must_use]
    pub fn new() -> Self {
        Self::every(PLAIN_INTERVAL)
    }

    /// A progress with an interval of its own for plain lines.
    #[must_use]
    pub fn every(plain_interval: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            plain_interval,
            last_plain: Mutex::new(None),
        }
    }

    /// A step that must be seen.
    pub fn step(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Where it stands; call it as often as there is news.
    pub fn show(&self, text: impl FnOnce() -> String) {
        let Some(bar) = &self.bar else {
            let mut last = self
                .last_plain
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if last.is_none_or(|last| last.elapsed() >= self.plain_interval) {
                *last = Some(Instant::now());
                eprintln!("{}", text());
            }
            return;
        };
        bar.set_message(text());
    }

    /// Takes the changing line away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
