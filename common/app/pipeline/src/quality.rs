//! What the rules said of the events of this process: for `/status`, and for the metrics, which add
//! up over a fleet (a histogram of scores and counters, no averages).

use ha_enrich::{RULES, Report};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Weight of one event in the latest score: that of an event a thousand events ago is a third.
const LATEST_WEIGHT: f64 = 1e-3;

/// Scores are 100 less tens, so eleven counts hold any number of them exactly.
const SCORES: usize = 11;

/// What the rules said since the start of the process.
#[derive(Debug, Default)]
pub struct QualityRecorder {
    total: Mutex<Total>,
}

/// A copy of what was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct QualitySummary {
    /// State changes that were validated.
    pub events: u64,
    /// Mean score of all of them; 100 before the first.
    pub score: f64,
    /// Mean score of about the last thousand.
    pub latest_score: f64,
    /// Rules that were broken, with how often; the most frequent first.
    pub rules: Vec<(&'static str, u64)>,
}

#[derive(Debug)]
struct Total {
    events: u64,
    scores_sum: f64,
    latest_score: f64,
    rules: [u64; RULES.len()],
}

impl Default for Total {
    fn default() -> Self {
        Self {
            events: 0,
            scores_sum: 0.0,
            latest_score: 100.0,
            rules: [0; RULES.len()],
        }
    }
}

/// What the rules said of the events of one batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct BatchQuality {
    /// Events by tens of their score.
    pub scores: [u32; SCORES],
    pub rules: [u32; RULES.len()],
    pub unchanged: u64,
    pub excluded: u64,
    pub none_wanted: u64,
}

impl BatchQuality {
    pub fn add(&mut self, report: &Report) {
        let left_out = report.left_out;
        self.unchanged += u64::from(left_out.unchanged);
        self.excluded += u64::from(left_out.excluded);
        self.none_wanted += u64::from(left_out.none_wanted);
        let Some(score) = report.score() else { return };
        self.scores[(score / 10.0) as usize % SCORES] += 1;
        let mut bits = report.flags.bits();
        while bits != 0 {
            self.rules[bits.trailing_zeros() as usize] += 1;
            bits &= bits - 1;
        }
    }
}

impl QualityRecorder {
    pub(crate) fn record(&self, batch: &BatchQuality) {
        let mut total = self.lock();
        for (tens, count) in batch.scores.iter().enumerate().filter(|(_, n)| **n > 0) {
            let (score, count) = (tens as f64 * 10.0, f64::from(*count));
            total.scores_sum += score * count;
            let kept = (1.0 - LATEST_WEIGHT).powf(count);
            total.latest_score = total.latest_score * kept + score * (1.0 - kept);
        }
        total.events += batch
            .scores
            .iter()
            .map(|count| u64::from(*count))
            .sum::<u64>();
        for (sum, count) in total.rules.iter_mut().zip(&batch.rules) {
            *sum += u64::from(*count);
        }
    }

    /// What was recorded so far.
    #[must_use]
    pub fn summary(&self) -> QualitySummary {
        let total = self.lock();
        let counts = RULES
            .iter()
            .zip(total.rules)
            .map(|(rule, count)| (rule.id, count));
        let mut rules: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
        rules.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        QualitySummary {
            events: total.events,
            score: if total.events == 0 {
                100.0
            } else {
                total.scores_sum / total.events as f64
            },
            latest_score: total.latest_score,
            rules,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Total> {
        self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(scores: &[(usize, u32)]) -> BatchQuality {
        let mut batch = BatchQuality::default();
        for (tens, count) in scores {
            batch.scores[*tens] = *count;
        }
        batch
    }

    #[test]
    fn means_are_of_events_and_the_latest_forgets() {
        let recorder = QualityRecorder::default();
        let empty = recorder.summary();
        assert_eq!(
            (empty.events, empty.score, empty.latest_score),
            (0, 100.0, 100.0)
        );
        recorder.record(&batch(&[(10, 3), (5, 1)]));
        let summary = recorder.summary();
        assert_eq!((summary.events, summary.score), (4, 87.5));
        recorder.record(&batch(&[(0, 10_000)]));
        let bad = recorder.summary();
        assert!(bad.latest_score < 0.01, "{bad:?}");
        for _ in 0..100 {
            recorder.record(&batch(&[(10, 100)]));
        }
        let good = recorder.summary();
        assert!(good.latest_score > 99.9 && good.score < 51.0, "{good:?}");
    }

    #[test]
    fn rules_stand_in_the_order_of_their_frequency() {
        let recorder = QualityRecorder::default();
        let mut found = BatchQuality::default();
        (found.rules[3], found.rules[7]) = (2, 5);
        recorder.record(&found);
        recorder.record(&found);
        let expected = [(RULES[7].id, 10), (RULES[3].id, 4)];
        assert_eq!(recorder.summary().rules, expected);
    }
}
