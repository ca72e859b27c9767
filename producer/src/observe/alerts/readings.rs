//! From counts to readings: what the rules judge by. Pure.
//!
//! Nothing is judged by a handful of events: readings wait until there are enough, however long that
//! takes in a quiet home.

use super::decide::{Alerts, Change, RULES, Readings};
use crate::observe::quality::{Counts, Samples};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Fewer events say nothing.
const EVENTS_MIN: u64 = 20;

/// The event rate is compared with the average of this time.
const AVERAGE: Duration = Duration::from_secs(3_600);
/// The average needs at least this much of that time.
const AVERAGE_MIN: Duration = Duration::from_secs(900);
/// A high rate is measured over this time.
const HIGH: Duration = Duration::from_secs(60);
/// A low rate is measured over this time.
const LOW: Duration = Duration::from_secs(300);

/// Intervals remembered: an hour of them, a second each at the shortest.
const INTERVALS_MAX: usize = 3_600;

/// Judges a stream by its counts.
#[derive(Debug)]
pub struct Judge {
    alerts: Alerts,
    samples: Samples,
    before: Counts,
    /// Ends of intervals, their lengths and how many events came in them.
    intervals: VecDeque<(Instant, Duration, u64)>,
    last: (Instant, u64),
}

impl Judge {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            alerts: Alerts::default(),
            samples: Samples::default(),
            before: Counts::default(),
            intervals: VecDeque::new(),
            last: (now, 0),
        }
    }

    /// Takes the totals of now and the samples since the last call in, and says which alerts
    /// changed.
    pub fn observe(&mut self, now: Instant, counts: Counts, samples: &Samples) -> Vec<Change> {
        let mut readings: Readings = [None; RULES.len()];
        let [score, errors, capture, coverage, latency, high, low] = &mut readings;
        self.samples.merge(samples);
        if self.samples.events >= EVENTS_MIN {
            let samples = std::mem::take(&mut self.samples);
            *score = samples.score();
            *errors = Some(100.0 * samples.in_error as f64 / samples.events as f64);
        }
        let since = counts.since(&self.before);
        if since.settled.max(since.lost) + since.unreadable >= EVENTS_MIN {
            *capture = since.capture();
            let went = since.confirmed + since.spooled;
            *coverage = (went > 0).then(|| 100.0 * since.confirmed as f64 / went as f64);
            let settled = since.settled;
            *latency = (settled > 0).then(|| since.settling_us as f64 / 1_000.0 / settled as f64);
            self.before = counts;
        }
        self.count_interval(now, counts.received);
        if let Some(average) = self.average() {
            *high = self.compared(now, HIGH, average);
            *low = self.compared(now, LOW, average);
        }
        self.alerts.judge(now, &readings)
    }

    fn count_interval(&mut self, now: Instant, received: u64) {
        let (began, before) = self.last;
        self.last = (now, received);
        let events = received.saturating_sub(before);
        self.intervals
            .push_back((now, now.duration_since(began), events));
        while self.intervals.len() > INTERVALS_MAX
            || self
                .intervals
                .front()
                .is_some_and(|(end, ..)| now.duration_since(*end) >= AVERAGE)
        {
            self.intervals.pop_front();
        }
    }

    /// Events a second, while there were any: an outage is not what is usual.
    fn average(&self) -> Option<f64> {
        let all: Duration = self.intervals.iter().map(|(_, took, _)| *took).sum();
        let alive = self.intervals.iter().filter(|(.., events)| *events > 0);
        let (took, events) = alive.fold((Duration::ZERO, 0), |(took, sum), (_, more, events)| {
            (took + *more, sum + events)
        });
        (all >= AVERAGE_MIN && events > 0).then(|| events as f64 / took.as_secs_f64())
    }

    /// The rate of the last while in times of the average; none where too few events would be
    /// expected in it.
    fn compared(&self, now: Instant, of: Duration, average: f64) -> Option<f64> {
        let lately = self
            .intervals
            .iter()
            .filter(|(end, ..)| now.duration_since(*end) < of);
        let (took, events) = lately.fold((Duration::ZERO, 0), |(took, sum), (_, more, events)| {
            (took + *more, sum + events)
        });
        let expected = average * took.as_secs_f64();
        (took >= of && expected >= EVENTS_MIN as f64).then(|| events as f64 / expected)
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide::Severity;
    use super::*;

    /// Events a minute, minute by minute; the names of what changed.
    fn said(minutes: impl IntoIterator<Item = u64>) -> Vec<(usize, String)> {
        let start = Instant::now();
        let (mut judge, mut counts) = (Judge::new(start), Counts::default());
        let mut said = Vec::new();
        for (minute, events) in minutes.into_iter().enumerate() {
            counts.received += events;
            counts.settled += events;
            counts.confirmed += events;
            let now = start + Duration::from_secs(60 * (minute as u64 + 1));
            for change in judge.observe(now, counts, &Samples::default()) {
                let name = RULES[change.rule].name;
                said.push((minute, format!("{name} {:?}", change.to)));
            }
        }
        said
    }

    #[test]
    fn a_steady_home_says_nothing_and_a_quiet_one_neither() {
        assert_eq!(said([60; 200]), []);
        assert_eq!(said([1; 100].into_iter().chain([0; 100])), []);
        let breathing = (0..200).map(|minute| 40 + 20 * (minute % 3));
        assert_eq!(said(breathing), []);
    }

    #[test]
    fn silence_is_told_after_five_minutes_and_a_storm_after_one() {
        let silent = [60; 30].into_iter().chain([0; 20]).chain([60; 10]);
        let name = "HaIngestorEventRateLow";
        let silent = said(silent);
        assert_eq!(silent[0], (34, format!("{name} Some(Critical)")));
        assert_eq!(silent.last(), Some(&(51, format!("{name} None"))));
        let storm = said([60; 30].into_iter().chain([600, 600]).chain([60; 20]));
        let name = "HaIngestorEventRateHigh";
        assert_eq!(storm[0], (30, format!("{name} Some(Warning)")));
        assert_eq!(storm[1], (32, format!("{name} None")));
    }

    #[test]
    fn what_is_lost_waits_or_is_slow_is_told() {
        let start = Instant::now();
        let names = |counts: Counts| {
            let changes = Judge::new(start).observe(start, counts, &Samples::default());
            let names = changes.iter().map(|change| {
                assert_eq!(change.to, Some(Severity::Critical));
                RULES[change.rule].name
            });
            names.collect::<Vec<_>>()
        };
        let counts = Counts {
            settled: 100,
            confirmed: 100,
            ..Counts::default()
        };
        assert_eq!(names(counts), [""; 0]);
        let lossy = Counts { lost: 50, ..counts };
        assert_eq!(names(lossy), ["HaIngestorCaptureLow"]);
        let waiting = Counts {
            confirmed: 10,
            spooled: 90,
            ..counts
        };
        assert_eq!(names(waiting), ["HaIngestorCoverageLow"]);
        let slow = Counts {
            settling_us: 100 * 3_000_000,
            ..counts
        };
        assert_eq!(names(slow), ["HaIngestorLatencyHigh"]);
        let few = Counts {
            settled: 10,
            lost: 10,
            ..Counts::default()
        };
        assert_eq!(names(few), [""; 0], "nothing is judged by a handful");
    }
}
