//! What is known of one place, and when to ask again. Pure: `now` is an argument.

use crate::Observation;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// So long an answer is good.
pub(crate) const TTL: Duration = Duration::from_secs(10 * 60);

/// So long it is used while a newer one is asked for.
pub(crate) const STALE_MAX: Duration = Duration::from_secs(3_600);

/// After a failure: the first pause, doubled up to the longest.
const PAUSE: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = TTL;

/// What a provider asks for is kept to, up to this.
const RETRY_AFTER_MAX: Duration = STALE_MAX;

/// A fetch that has not ended by then never will: its timeout is far shorter.
const FETCH_MAX: Duration = Duration::from_secs(30);

/// Observations kept: those of the hour that an event may lie behind its processing, and a few.
const KEPT_MAX: usize = 8;

/// How good the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Younger than ten minutes.
    Fresh,
    /// Older, and a newer one is being asked for.
    Stale,
    /// Nothing is known yet.
    Unknown,
    /// The provider was asked, and did not answer as it should.
    Failing,
}

/// What is known of one place.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// Newest first.
    observations: VecDeque<Observation>,
    snapshot: Option<Arc<[Observation]>>,
    answered_at: Option<Instant>,
    /// No question before this.
    not_before: Option<Instant>,
    failures: u32,
    /// Until then somebody else is asking.
    asked_until: Option<Instant>,
}

/// What to do about one look.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Look {
    pub observations: Arc<[Observation]>,
    pub freshness: Freshness,
    /// The caller must ask, and say what came of it.
    pub must_ask: bool,
}

impl Entry {
    /// Looks; at most one caller at a time is told to ask.
    pub fn look(&mut self, now: Instant) -> Look {
        let age = self.answered_at.map(|at| now.duration_since(at));
        let freshness = match age {
            Some(age) if age < TTL => Freshness::Fresh,
            Some(age) if age < STALE_MAX => Freshness::Stale,
            _ if self.failures > 0 => Freshness::Failing,
            _ => Freshness::Unknown,
        };
        let is_past = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        let must_ask =
            freshness != Freshness::Fresh && is_past(self.not_before) && is_past(self.asked_until);
        if must_ask {
            self.asked_until = Some(now + FETCH_MAX);
        }
        let observations = match freshness {
            Freshness::Fresh | Freshness::Stale => {
                let made = || self.observations.iter().cloned().collect();
                Arc::clone(self.snapshot.get_or_insert_with(made))
            }
            Freshness::Unknown | Freshness::Failing => Arc::default(),
        };
        Look {
            observations,
            freshness,
            must_ask,
        }
    }

    /// The provider answered. What it says again of a time that is known already is not taken: two
    /// events of one time shall not differ.
    pub fn answered(&mut self, observation: Observation, now: Instant) {
        self.answered_at = Some(now);
        self.failures = 0;
        self.not_before = None;
        self.asked_until = None;
        let newest = self
            .observations
            .front()
            .map(|newest| newest.observed_at_us);
        if newest.is_none_or(|newest| observation.observed_at_us > newest) {
            self.observations.push_front(observation);
            self.observations.truncate(KEPT_MAX);
            self.snapshot = None;
        }
    }

    /// It did not.
    pub fn failed(&mut self, retry_after: Option<Duration>, now: Instant) {
        let doubled = PAUSE * 2_u32.pow(self.failures.min(10));
        let wished = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + doubled.min(PAUSE_MAX).max(wished));
        self.asked_until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(observed_at_us: i64) -> Observation {
        Observation {
            observed_at_us,
            condition: "sunny".into(),
            attributes: format!("{{\"temperature\":{observed_at_us}}}").into(),
        }
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    /// Freshness, whether to ask, and the times of what is known.
    fn look(entry: &mut Entry, now: Instant) -> (Freshness, bool, Vec<i64>) {
        let look = entry.look(now);
        let times = look.observations.iter().map(|o| o.observed_at_us);
        (look.freshness, look.must_ask, times.collect())
    }

    #[test]
    fn one_asks_and_the_others_take_what_there_is() {
        use Freshness::{Fresh, Stale, Unknown};
        let (mut entry, start) = (Entry::default(), Instant::now());
        assert_eq!(look(&mut entry, start), (Unknown, true, vec![]));
        assert_eq!(look(&mut entry, start), (Unknown, false, vec![]));
        entry.answered(observation(1), start);
        assert_eq!(
            look(&mut entry, start + minutes(9)),
            (Fresh, false, vec![1])
        );
        assert_eq!(
            look(&mut entry, start + minutes(10)),
            (Stale, true, vec![1])
        );
        assert_eq!(
            look(&mut entry, start + minutes(10)),
            (Stale, false, vec![1])
        );
        entry.answered(observation(2), start + minutes(10));
        assert_eq!(
            look(&mut entry, start + minutes(11)),
            (Fresh, false, vec![2, 1])
        );
    }

    #[test]
    fn an_asker_that_never_comes_back_is_replaced() {
        let (mut entry, start) = (Entry::default(), Instant::now());
        assert!(entry.look(start).must_ask);
        assert!(!entry.look(start + FETCH_MAX / 2).must_ask);
        assert!(entry.look(start + FETCH_MAX).must_ask);
    }

    #[test]
    fn failures_are_misses_and_are_not_repeated_at_once() {
        use Freshness::{Failing, Stale};
        let (mut entry, start) = (Entry::default(), Instant::now());
        entry.failed(None, start);
        assert_eq!(look(&mut entry, start), (Failing, false, vec![]));
        assert_eq!(look(&mut entry, start + PAUSE), (Failing, true, vec![]));
        entry.failed(None, start);
        assert!(!entry.look(start + PAUSE).must_ask, "the pause doubles");
        for _ in 0..100 {
            entry.failed(None, start);
        }
        assert!(entry.look(start + PAUSE_MAX).must_ask, "but not for ever");
        entry.failed(Some(minutes(30)), start);
        assert!(!entry.look(start + minutes(29)).must_ask, "Retry-After");
        entry.failed(Some(minutes(600)), start);
        assert!(entry.look(start + RETRY_AFTER_MAX).must_ask, "has a limit");

        // What is known outlives failures for an hour, and no longer.
        entry.answered(observation(1), start);
        entry.failed(None, start + minutes(10));
        assert_eq!(look(&mut entry, start + minutes(59)).0, Stale);
        assert_eq!(
            look(&mut entry, start + minutes(60)),
            (Failing, true, vec![])
        );
    }

    #[test]
    fn what_is_said_again_of_one_time_changes_nothing_and_old_observations_go() {
        let (mut entry, start) = (Entry::default(), Instant::now());
        entry.answered(observation(5), start);
        let mut revised = observation(5);
        revised.condition = "rainy".into();
        entry.answered(revised, start);
        entry.answered(observation(4), start);
        let known = entry.look(start).observations;
        assert_eq!((known.len(), known[0].condition.as_ref()), (1, "sunny"));
        for time in 6..100 {
            entry.answered(observation(time), start);
        }
        assert_eq!(entry.look(start).observations.len(), KEPT_MAX);
    }
}
