//! What the workers said that it would take, beside what it took. Pure.

use loadtest_report::{Estimate, EstimateSample, rounded};

/// So many of the samples are reported.
const SHOWN_MAX: usize = 12;
/// At the beginning nothing has been settled yet, at the end a sample is older than what is left.
const LEFT_OUT_S: f64 = 5.0;
const SHARE_OFF_MAX: f64 = 0.25;

/// One sample of a system that empties its queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueSample {
    /// Seconds since the workers were started.
    pub(super) at_s: f64,
    pub(super) queue_depth: u64,
    /// The largest of the workers'.
    pub(super) backlog_seconds: f64,
}

/// Without the first and the last five seconds; `None` if there is nothing between.
pub(super) fn estimate(samples: &[QueueSample], drain_s: f64) -> Option<Estimate> {
    let between = samples.iter().filter(|sample| {
        let left_s = drain_s - sample.at_s;
        sample.at_s >= LEFT_OUT_S && left_s >= LEFT_OUT_S
    });
    let mut ratios: Vec<f64> = between
        .map(|sample| sample.backlog_seconds / (drain_s - sample.at_s))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (least, largest) = (*ratios.first()?, *ratios.last()?);
    let off = |ratio: f64| (ratio - 1.0).abs();
    let worst = if off(least) > off(largest) {
        least
    } else {
        largest
    };
    Some(Estimate {
        looks: ratios.len(),
        median: rounded(ratios[ratios.len() / 2]),
        worst: rounded(worst),
        within_25_percent: off(worst) <= SHARE_OFF_MAX,
    })
}

/// Some of the samples, evenly: what was said, and what it took from then on.
pub(super) fn shown(samples: &[QueueSample], drain_s: f64) -> Vec<EstimateSample> {
    let step = samples.len().div_ceil(SHOWN_MAX).max(1);
    let some = samples.iter().step_by(step).map(|sample| EstimateSample {
        at_s: rounded(sample.at_s),
        queue_depth: sample.queue_depth,
        backlog_seconds: rounded(sample.backlog_seconds),
        took_s: rounded(drain_s - sample.at_s),
    });
    some.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(said: impl Fn(f64) -> f64) -> Vec<QueueSample> {
        let at = (0..100).map(f64::from);
        at.map(|at_s| QueueSample {
            at_s,
            queue_depth: 100,
            backlog_seconds: said(at_s),
        })
        .collect()
    }

    #[test]
    fn estimates_stand_beside_what_it_took() {
        let some = shown(&samples(|_| 7.0), 110.0);
        assert!((10..=SHOWN_MAX).contains(&some.len()), "{some:?}");
        let first = EstimateSample {
            at_s: 0.0,
            queue_depth: 100,
            backlog_seconds: 7.0,
            took_s: 110.0,
        };
        assert_eq!(some[0], first);
        assert!(shown(&[], 1.0).is_empty());
    }

    #[test]
    fn beginning_and_end_do_not_count() {
        // Nonsense at both ends, a tenth too much between.
        let said = |at_s: f64| match at_s {
            5.0..=95.0 => (100.0 - at_s) * 1.1,
            _ => 1_000.0,
        };
        let found = estimate(&samples(said), 100.0).unwrap();
        assert_eq!((found.looks, found.median, found.worst), (91, 1.1, 1.1));
        assert!(found.within_25_percent);
        assert_eq!(estimate(&samples(said), 9.0), None);
    }

    #[test]
    fn the_worst_is_the_one_that_is_furthest_off() {
        let said = |at_s: f64| (100.0 - at_s) * if at_s == 50.0 { 0.7 } else { 1.2 };
        let found = estimate(&samples(said), 100.0).unwrap();
        assert_eq!((found.median, found.worst), (1.2, 0.7));
        assert!(!found.within_25_percent);
    }
}
