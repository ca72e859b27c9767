//! How long a time one request for history covers. Pure.

use std::time::Duration;

/// Short enough for a home that sends thousands of events a second.
const FIRST: Duration = Duration::from_secs(5);
const MIN: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(3_600);

/// An answer of more is too large: while it is read, live events wait.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The time of the next request: as long as its answer stays small.
#[derive(Debug)]
pub(super) struct Window(Duration);

impl Default for Window {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Window {
    /// Its length.
    pub(super) fn micros(&self) -> i64 {
        self.0.as_micros() as i64
    }

    /// Learns from the largest answer to the last one.
    pub(super) fn adapt(&mut self, answer_bytes: usize) {
        let shorter = u32::try_from(answer_bytes.div_ceil(ANSWER_BYTES_MAX)).unwrap_or(u32::MAX);
        self.0 = match shorter {
            0 | 1 if answer_bytes < ANSWER_BYTES_MAX / 4 => (self.0 * 4).min(MAX),
            0 | 1 => self.0,
            _ => (self.0 / shorter).max(MIN),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest answer and the number of windows over a day, `bytes_a_second` for each.
    fn day(bytes_a_second: usize) -> (usize, usize) {
        let (mut window, mut at_us, mut largest, mut windows) = (Window::default(), 0, 0, 0);
        while at_us < 86_400_000_000 {
            let answer = (window.micros() as usize * bytes_a_second) / 1_000_000;
            largest = largest.max(answer);
            windows += 1;
            at_us += window.micros();
            window.adapt(answer);
        }
        (largest, windows)
    }

    #[test]
    fn answers_stay_small_and_requests_few() {
        // A quiet home: hours.
        assert_eq!(day(10), (36_000, 29));
        // A busy one: more than a minute at a time.
        let (largest, windows) = day(4_000);
        assert!(
            largest <= ANSWER_BYTES_MAX && windows < 1_100,
            "{largest} {windows}"
        );
        // More than any home: the first answer is large, and then they are small.
        let (largest, windows) = day(2 << 20);
        assert_eq!(largest, 10 << 20);
        assert!(windows < 3 * 86_400, "{windows}");
        let mut window = Window::default();
        window.adapt(usize::MAX);
        assert_eq!(window.micros(), 100_000);
    }
}
