//! What an import says while it runs, and at its end.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bad lines that are shown; the rest are counted.
const BAD_LINES_SHOWN_MAX: u64 = 20;

/// Without a terminal, a line this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Counts, and the bar that shows them.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    terminal: bool,
    said: Mutex<Instant>,
    lines: AtomicU64,
    imported: AtomicU64,
    skipped: AtomicU64,
    filtered: AtomicU64,
}

impl Progress {
    /// A bar over this many bytes, on stderr if that is a terminal.
    pub fn new(bytes: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = match terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        let style = "{wide_bar} {percent:>3} %  {bytes_per_sec}  {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self {
            bar,
            terminal,
            said: Mutex::new(Instant::now()),
            lines: AtomicU64::new(0),
            imported: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            filtered: AtomicU64::new(0),
        }
    }

    /// A line was read.
    pub fn read(&self, number: u64, bytes: u64) {
        self.lines.store(number, Ordering::Relaxed);
        self.bar.inc(bytes);
    }

    /// A message that carries no event.
    pub fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// The filters leave an event out.
    pub fn filtered(&self) {
        self.filtered.fetch_add(1, Ordering::Relaxed);
    }

    /// Events arrived.
    pub fn imported(&self, events: u64) {
        self.imported.fetch_add(events, Ordering::Relaxed);
    }

    /// Lines read so far.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Once a second.
    pub fn tick(&self) {
        let imported = self.imported.load(Ordering::Relaxed);
        self.bar.set_message(format!("{imported} events"));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.terminal && said.elapsed() >= LINE_EVERY {
            *said = Instant::now();
            let percent = self.bar.position() * 100 / self.bar.length().unwrap_or(1).max(1);
            eprintln!("{percent} %, {imported} events imported");
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// A line beside the bar.
    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// The last line.
    pub fn summary(&self, took: Duration, bad: u64) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "imported {} events from {} lines in {:.1} s; {} filtered, {} messages without an event, \
             {bad} bad",
            count(&self.imported),
            count(&self.lines),
            took.as_secs_f64(),
            count(&self.filtered),
            count(&self.skipped),
        )
    }
}

/// Reports bad lines: the first ones in words, the rest as a number.
#[derive(Debug)]
pub struct BadLines {
    progress: Arc<Progress>,
    count: AtomicU64,
}

impl BadLines {
    /// None yet.
    pub fn new(progress: Arc<Progress>) -> Self {
        Self {
            progress,
            count: AtomicU64::new(0),
        }
    }

    /// A line, or an event of it, that is not imported.
    pub fn report(&self, line: u64, reason: &str) {
        if self.count.fetch_add(1, Ordering::Relaxed) < BAD_LINES_SHOWN_MAX {
            self.progress.say(&format!("line {line}: {reason}"));
        }
    }

    /// So far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// What was not shown.
    pub fn say_rest(&self) {
        let rest = self.count().saturating_sub(BAD_LINES_SHOWN_MAX);
        if rest > 0 {
            self.progress.say(&format!("… and {rest} more bad lines"));
        }
    }
}
