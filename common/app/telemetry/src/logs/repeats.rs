//! Warnings that repeat: what is down is said once, not once a batch.
//!
//! A place in the code may say one thing once in 30 s, and ten things in 30 s. What it says beyond
//! that is left out and counted; the next line from there carries the count. Lines of the levels
//! info and below are not counted: nothing here says such a line per batch.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// How long a repeated line is left out.
const WINDOW: Duration = Duration::from_secs(30);

/// Different lines from one place within [`WINDOW`].
const LINES_MAX: usize = 10;

/// Of a message in a report.
const MESSAGE_BYTES_MAX: usize = 200;

/// Whether a line is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Saying {
    /// It is, with the number of lines from its place that were left out before it.
    Say { suppressed: u64 },
    /// It is left out, and counted.
    Suppress,
}

/// Lines that were left out, and that no other line has told of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    /// The last message that was written from their place.
    pub line: String,
    /// How many.
    pub suppressed: u64,
}

/// What every place in the code has said of late. There are as many entries as such places.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    places: Mutex<HashMap<Identifier, Place>>,
}

/// What one place has said within [`WINDOW`].
#[derive(Debug, Default)]
struct Place {
    /// Hash of the line, and when; at most [`LINES_MAX`].
    said: Vec<(u64, Instant)>,
    message: String,
    suppressed: u64,
}

impl Place {
    fn look_at(&mut self, line: u64, now: Instant) -> Saying {
        self.forget(now);
        if self.said.len() >= LINES_MAX || self.said.iter().any(|(said, _)| *said == line) {
            self.suppressed += 1;
            return Saying::Suppress;
        }
        self.said.push((line, now));
        Saying::Say {
            suppressed: std::mem::take(&mut self.suppressed),
        }
    }

    fn forget(&mut self, now: Instant) {
        self.said
            .retain(|(_, at)| now.saturating_duration_since(*at) < WINDOW);
    }

    fn ended(&mut self, now: Instant) -> Option<Suppressed> {
        self.forget(now);
        self.said.is_empty().then(|| self.take())?
    }

    fn take(&mut self) -> Option<Suppressed> {
        let suppressed = std::mem::take(&mut self.suppressed);
        (suppressed > 0).then(|| Suppressed {
            line: self.message.clone(),
            suppressed,
        })
    }
}

impl Repeats {
    /// Whether the line is written.
    pub fn look_at(&self, event: &Event<'_>, now: Instant) -> Saying {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN {
            return Saying::Say { suppressed: 0 };
        }
        let mut line = Contents::default();
        event.record(&mut line);
        let mut places = self.lock();
        let place = places.entry(metadata.callsite()).or_default();
        let saying = place.look_at(line.hasher.finish(), now);
        if saying != Saying::Suppress {
            place.message = line.message;
        }
        saying
    }

    /// What was left out at places that have said nothing for [`WINDOW`].
    pub fn ended(&self, now: Instant) -> Vec<Suppressed> {
        let mut places = self.lock();
        let ended = places.values_mut().filter_map(|place| place.ended(now));
        ended.collect()
    }

    /// What was left out, everywhere.
    pub fn all(&self) -> Vec<Suppressed> {
        self.lock().values_mut().filter_map(Place::take).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fields of a line, to tell whether it is the same as another.
#[derive(Default)]
struct Contents {
    hasher: DefaultHasher,
    message: String,
}

impl Visit for Contents {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        field.name().hash(&mut self.hasher);
        let _ = write!(Hashed(&mut self.hasher), "{value:?}");
        if field.name() == "message" {
            let _ = write!(Limited(&mut self.message), "{value:?}");
        }
    }
}

/// Text that is not kept.
struct Hashed<'a>(&'a mut DefaultHasher);

impl Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// Text of which the beginning is kept.
struct Limited<'a>(&'a mut String);

impl Write for Limited<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MESSAGE_BYTES_MAX.saturating_sub(self.0.len());
        let mut end = room.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&text[..end]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Saying = Saying::Say { suppressed: 0 };
    const SAID_AFTER_500: Saying = Saying::Say { suppressed: 500 };

    #[test]
    fn a_line_is_said_once_in_its_window_and_then_with_the_count() {
        let (mut place, start) = (Place::default(), Instant::now());
        assert_eq!(place.look_at(1, start), SAID);
        for ms in 1..=500 {
            let now = start + Duration::from_millis(ms);
            assert_eq!(place.look_at(1, now), Saying::Suppress);
        }
        assert_eq!(
            place.look_at(2, start),
            SAID_AFTER_500,
            "another line tells"
        );
        assert_eq!(
            place.look_at(1, start + Duration::from_secs(29)),
            Saying::Suppress
        );
        let next = place.look_at(1, start + WINDOW);
        assert_eq!(next, Saying::Say { suppressed: 1 });
        assert_eq!(place.take(), None, "all is told");
    }

    #[test]
    fn lines_that_all_differ_are_few_too() {
        let (mut place, start) = (Place::default(), Instant::now());
        let said = (0..1_000).filter(|line| place.look_at(*line, start) == SAID);
        assert_eq!(said.count(), LINES_MAX);
        let suppressed = place.take().map(|left_out| left_out.suppressed);
        assert_eq!(suppressed, Some(990));
        assert!(place.said.len() <= LINES_MAX);
    }

    #[test]
    fn what_no_longer_repeats_is_told_of_when_its_window_has_ended() {
        let start = Instant::now();
        let mut place = Place {
            message: "it is away".into(),
            ..Place::default()
        };
        place.look_at(1, start);
        place.look_at(1, start);
        assert_eq!(place.ended(start + Duration::from_secs(29)), None);
        let told = Suppressed {
            line: "it is away".into(),
            suppressed: 1,
        };
        assert_eq!(place.ended(start + WINDOW), Some(told));
        assert_eq!(place.ended(start + WINDOW), None, "once");
    }
}
