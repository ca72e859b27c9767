//! Delays between attempts: exponential, capped, with full jitter.

use std::time::Duration;

/// The delays of one run of failures.
///
/// Full jitter (the whole delay is random, from nothing to the ceiling) because many clients that
/// lost one server together would otherwise come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    factor: f64,
    max: Duration,
    /// What the next delay may be at most; grows by `factor` up to `max`. Kept instead of a count
    /// of attempts, so that no number of attempts can overflow.
    ceiling: Duration,
}

impl Backoff {
    /// Delays under `base`, then under twice that, and so on, never over `max`.
    #[must_use]
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            factor: 2.0,
            max,
            ceiling: base.min(max),
        }
    }

    /// A backoff with another growth than doubling. A factor under 1 (or not a number) is taken as 1.
    #[must_use]
    pub fn with_factor(mut self, factor: f64) -> Self {
        self.factor = if factor > 1.0 { factor } else { 1.0 };
        self
    }

    /// The next delay: `random` (0 to 1; anything else is clamped) of the ceiling.
    pub fn next(&mut self, random: f64) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = scaled(ceiling, self.factor)
            .unwrap_or(self.max)
            .min(self.max);
        let share = if random.is_nan() {
            1.0
        } else {
            random.clamp(0.0, 1.0)
        };
        // Rounding must not lift the result over the ceiling.
        scaled(ceiling, share).unwrap_or(ceiling).min(ceiling)
    }

    /// The next delay, by the thread's random numbers.
    pub fn next_random(&mut self) -> Duration {
        self.next(rand::random())
    }

    /// Starts again at the shortest delay; call after a success.
    pub fn reset(&mut self) {
        self.ceiling = self.base.min(self.max);
    }
}

/// `duration * by`; `None` where that is no `Duration` (`mul_f64` would panic).
fn scaled(duration: Duration, by: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(duration.as_secs_f64() * by).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum_and_starts_again() {
        let mut backoff = Backoff::new(s(0.5), s(30.0));
        let ceilings: Vec<_> = (0..9).map(|_| backoff.next(1.0)).collect();
        assert_eq!(
            ceilings,
            [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0].map(s),
            "the documented reconnect schedule"
        );
        backoff.reset();
        assert_eq!(backoff.next(1.0), s(0.5));
        assert_eq!(backoff.next(0.5), s(0.5), "half of the second ceiling");
        assert_eq!(backoff.next(0.0), Duration::ZERO);
    }

    #[test]
    fn a_base_over_the_maximum_is_the_maximum() {
        let mut backoff = Backoff::new(s(60.0), s(30.0));
        assert_eq!(backoff.next(1.0), s(30.0));
        backoff.reset();
        assert_eq!(backoff.next(1.0), s(30.0));
    }

    #[test]
    fn a_million_calls_stay_within_the_maximum() {
        for max in [s(30.0), Duration::MAX, Duration::ZERO] {
            let mut backoff = Backoff::new(s(0.5), max);
            for call in 0..1_000_000 {
                let delay = backoff.next(1.0);
                assert!(delay <= max, "call {call}: {delay:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_over_the_maximum(
            base_ms in 0u64..u64::MAX, max_ms in 0u64..u64::MAX, factor: f64,
            randoms in prop::collection::vec(any::<f64>(), 1..200),
        ) {
            let max = Duration::from_millis(max_ms);
            let mut backoff =
                Backoff::new(Duration::from_millis(base_ms), max).with_factor(factor);
            for random in randoms {
                prop_assert!(backoff.next(random) <= max);
                prop_assert!(backoff.next_random() <= max);
            }
        }

        #[test]
        fn the_jitter_is_the_share_asked_for(random in 0.0f64..=1.0, attempt in 0usize..10) {
            let mut backoff = Backoff::new(s(1.0), s(100.0));
            for _ in 0..attempt {
                backoff.next(random);
            }
            let ceiling = 2f64.powi(i32::try_from(attempt).unwrap()).min(100.0);
            let got = backoff.next(random).as_secs_f64();
            prop_assert!((got - random * ceiling).abs() < 1e-6, "{got}");
        }
    }
}
