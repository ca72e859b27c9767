//! Which time each request for history covers. Pure.

use ha_event::UtcMicros;
use std::time::Duration;

/// Short enough for a home that sends thousands of events a second.
const FIRST: Duration = Duration::from_secs(5);
const MIN: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(3_600);

/// An answer of more is too large: while it is read, live events wait.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Periods one after the other, each as long as answers stay small.
#[derive(Debug)]
pub(super) struct Periods {
    /// Where the next one begins.
    at: UtcMicros,
    until: UtcMicros,
    length: Duration,
    beyond: Option<Period>,
}

/// As the recorder takes it: what happened at either end is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) after: UtcMicros,
    pub(super) before: UtcMicros,
}

impl Periods {
    /// All from `from` on and before `until`.
    pub(super) fn new(from: UtcMicros, until: UtcMicros) -> Self {
        Self {
            at: from,
            until,
            length: FIRST,
            beyond: None,
        }
    }

    /// One more period behind the last, of any length.
    pub(super) fn and(mut self, beyond: Option<Period>) -> Self {
        self.beyond = beyond;
        self
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Option<Period> {
        if self.at >= self.until {
            return self.beyond.take();
        }
        let after = UtcMicros(self.at.0 - 1);
        let end = self.at.0 + self.length.as_micros() as i64;
        self.at = UtcMicros(end.min(self.until.0));
        Some(Period {
            after,
            before: self.at,
        })
    }

    /// Learns from the largest answer to the last one.
    pub(super) fn adapt(&mut self, answer_bytes: usize) {
        let shorter = u32::try_from(answer_bytes.div_ceil(ANSWER_BYTES_MAX)).unwrap_or(u32::MAX);
        self.length = match shorter {
            0 | 1 if answer_bytes < ANSWER_BYTES_MAX / 4 => (self.length * 4).min(MAX),
            0 | 1 => self.length,
            _ => (self.length / shorter).max(MIN),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 86_400_000_000;

    /// The largest answer and the number of periods over a day, at this many bytes a second.
    fn day(bytes_a_second: usize) -> (usize, usize) {
        let mut periods = Periods::new(UtcMicros(7), UtcMicros(7 + DAY_US));
        let (mut next, mut largest, mut count) = (7, 0, 0);
        while let Some(period) = periods.next() {
            assert_eq!(period.after.0 + 1, next, "nothing twice, nothing left out");
            let micros = usize::try_from(period.before.0 - next).unwrap();
            let answer = micros * bytes_a_second / 1_000_000;
            largest = largest.max(answer);
            count += 1;
            periods.adapt(answer);
            next = period.before.0;
        }
        assert_eq!(next, 7 + DAY_US);
        (largest, count)
    }

    #[test]
    fn answers_stay_small_and_requests_few() {
        // A quiet home: hours.
        assert_eq!(day(10), (36_000, 29));
        // A busy one: more than a minute at a time.
        let (largest, count) = day(4_000);
        assert!(
            largest <= ANSWER_BYTES_MAX && count < 1_100,
            "{largest} {count}"
        );
        // More than any home: the first answer is large, and then they are small.
        let (largest, count) = day(2 << 20);
        assert_eq!(largest, 10 << 20);
        assert!(count < 3 * 86_400, "{count}");
        assert_eq!(Periods::new(UtcMicros(7), UtcMicros(7)).next(), None);
        let beyond = Period {
            after: UtcMicros(6),
            before: UtcMicros(i64::MAX),
        };
        let mut periods = Periods::new(UtcMicros(7), UtcMicros(7)).and(Some(beyond));
        assert_eq!((periods.next(), periods.next()), (Some(beyond), None));
        let mut periods = Periods::new(UtcMicros(7), UtcMicros(7 + DAY_US));
        periods.adapt(usize::MAX);
        assert_eq!(periods.length, MIN);
    }
}
