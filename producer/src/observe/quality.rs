//! What the producer knows of the quality of its stream: how much of it was kept, and what the rules
//! say of a sample of its events. Once a minute, at the start and at the end of a run it is a record
//! in the stream.

use ha_batch::Envelope;
use ha_enrich::{AttributePolicy, Options, QualityRecord, RULES, Report, Severity};
use ha_pipeline::QualitySummary;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Events looked at in a second. Validating is parsing, which the producer otherwise leaves to those
/// who enrich; a home of fewer events is looked at whole.
const SAMPLES_A_SECOND: u32 = 20;

/// Totals of a run, as values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events read from Home Assistant.
    pub received: u64,
    /// Parts of the stream that could not be read.
    pub unreadable: u64,
    /// Events left out by the filters.
    pub filtered: u64,
    /// The last number given.
    pub sequence_last: u64,
    /// Numbered events that are safe.
    pub settled: u64,
    /// Microseconds from the socket until they were safe, together.
    pub settling_us: u64,
    /// Events that the route took at once.
    pub confirmed: u64,
    /// Events that went to the spool instead.
    pub spooled: u64,
    /// Events lost for good.
    pub lost: u64,
}

impl Counts {
    /// What was counted since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            received: self.received.saturating_sub(before.received),
            unreadable: self.unreadable.saturating_sub(before.unreadable),
            filtered: self.filtered.saturating_sub(before.filtered),
            sequence_last: self.sequence_last.saturating_sub(before.sequence_last),
            settled: self.settled.saturating_sub(before.settled),
            settling_us: self.settling_us.saturating_sub(before.settling_us),
            confirmed: self.confirmed.saturating_sub(before.confirmed),
            spooled: self.spooled.saturating_sub(before.spooled),
            lost: self.lost.saturating_sub(before.lost),
        }
    }

    /// Percent of what was to be kept that was; none if nothing was to be.
    #[must_use]
    pub fn capture(&self) -> Option<f64> {
        // What is lost was settled in the spool before.
        let total = self.settled.max(self.lost) + self.unreadable;
        let kept = self.settled.saturating_sub(self.lost);
        (total > 0).then(|| 100.0 * kept as f64 / total as f64)
    }
}

/// What the rules said of the events that were looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Events looked at.
    pub events: u64,
    /// Those that broke a rule of the severity error, or were no events.
    pub in_error: u64,
    score_sum: f64,
    /// How many broke each rule, in the order of [`RULES`].
    broken: [u64; RULES.len()],
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            events: 0,
            in_error: 0,
            score_sum: 0.0,
            broken: [0; RULES.len()],
        }
    }
}

impl Samples {
    /// Takes one event in; none for what is no event.
    pub fn add(&mut self, report: Option<Report>) {
        let Some(report) = report else {
            self.events += 1;
            self.in_error += 1;
            return;
        };
        // Only changes of state are validated.
        let Some(score) = report.score() else { return };
        self.events += 1;
        self.score_sum += score;
        let is_error = |rule: &ha_enrich::Rule| rule.severity == Severity::Error;
        self.in_error += u64::from(report.flags.iter().any(is_error));
        for (at, count) in self.broken.iter_mut().enumerate() {
            *count += report.flags.bits() >> at & 1;
        }
    }

    /// Adds the samples of another time.
    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.in_error += other.in_error;
        self.score_sum += other.score_sum;
        for (count, more) in self.broken.iter_mut().zip(other.broken) {
            *count += more;
        }
    }

    /// Mean score, 0 to 100; what is no event has 0.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        (self.events > 0).then(|| self.score_sum / self.events as f64)
    }

    /// The rules that most events broke, most first.
    #[must_use]
    pub fn top_rules(&self) -> Vec<(&'static str, u64)> {
        let mut rules: Vec<_> = RULES
            .iter()
            .zip(self.broken)
            .filter(|(_, count)| *count > 0)
            .map(|(rule, count)| (rule.id, count))
            .collect();
        rules.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
        rules
    }
}

/// Looks at a sample of the events.
#[derive(Debug)]
pub struct Quality {
    options: Options,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    second: Instant,
    left: u32,
    /// Since the last record.
    current: Samples,
    /// Of the whole run.
    run: Samples,
    /// What was counted at the last record.
    counts: Counts,
    latest: QualityRecord,
}

impl Quality {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(run_id: u64) -> Self {
        let options = Options {
            attributes: AttributePolicy::None,
            ..Options::default()
        };
        let state = State {
            second: Instant::now(),
            left: SAMPLES_A_SECOND,
            current: Samples::default(),
            run: Samples::default(),
            counts: Counts::default(),
            latest: QualityRecord {
                run_id,
                ..QualityRecord::default()
            },
        };
        Self {
            options,
            state: Mutex::new(state),
        }
    }

    /// Whether the next event is one of the sample.
    pub fn wants_event(&self, now: Instant) -> bool {
        let mut state = self.state();
        if now.duration_since(state.second) >= Duration::from_secs(1) {
            state.second = now;
            state.left = SAMPLES_A_SECOND;
        }
        let wants = state.left > 0;
        state.left -= u32::from(wants);
        wants
    }

    /// Looks at an event. A panic costs nothing here: it will cost the event where it is enriched.
    pub fn look_at(&self, envelope: &Envelope<'_>) {
        let looked = catch_unwind(AssertUnwindSafe(|| {
            ha_enrich::enrich_with_report(envelope, None, &self.options)
                .ok()
                .map(|(_, report)| report)
        }));
        self.state().current.add(looked.ok().flatten());
    }

    /// The record of now, and the samples it is made of. The next one begins behind it.
    pub fn record(&self, counts: Counts) -> (QualityRecord, Samples) {
        let mut state = self.state();
        let samples = std::mem::take(&mut state.current);
        state.run.merge(&samples);
        let record = QualityRecord {
            run_id: state.latest.run_id,
            sequence_last: counts.sequence_last,
            received: counts.received,
            filtered: counts.filtered,
            settled: counts.settled,
            lost: counts.lost,
            capture: counts.since(&state.counts).capture(),
            score: samples.score(),
        };
        state.counts = counts;
        state.latest = record.clone();
        (record, samples)
    }

    /// The same as of the events that are enriched, of the sample; the latest score is that of the
    /// events since the last record, or of the last record while there are none.
    #[must_use]
    pub fn summary(&self) -> QualitySummary {
        let state = self.state();
        let mut run = state.run.clone();
        run.merge(&state.current);
        let latest = state.current.score().or(state.latest.score);
        QualitySummary {
            events: run.events,
            score: run.score().unwrap_or(100.0),
            latest_score: latest.unwrap_or(100.0),
            rules: run.top_rules(),
        }
    }

    /// Percent of what was to be kept that was, by the last record.
    #[must_use]
    pub fn capture(&self) -> Option<f64> {
        self.state().latest.capture
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_batch::Origin;

    fn look(quality: &Quality, json: &str) {
        quality.look_at(&Envelope {
            id: uuid::Uuid::nil(),
            instance: "home".into(),
            run_id: Some(1),
            sequence: Some(1),
            received_at_ns: 2_000_000_000,
            origin: Origin::Live,
            json: json.as_bytes().into(),
        });
    }

    const GOOD: &str = r#"{"event_type":"state_changed","data":{"entity_id":"light.a","old_state":null,"new_state":{"entity_id":"light.a","state":"on","attributes":{},"last_changed":"1970-01-01T00:00:01+00:00","last_updated":"1970-01-01T00:00:01+00:00"}},"time_fired":"1970-01-01T00:00:01+00:00"}"#;

    #[test]
    fn a_record_says_what_was_counted_and_what_the_rules_say_since_the_last() {
        let quality = Quality::new(9);
        let first = quality.record(Counts::default()).0;
        assert_eq!((first.run_id, first.score, first.capture), (9, None, None));
        look(&quality, GOOD);
        look(&quality, &GOOD.replace("\"on\"", "\"blue\""));
        look(&quality, "no event");
        let counts = Counts {
            received: 5,
            filtered: 1,
            sequence_last: 4,
            settled: 4,
            lost: 1,
            ..Counts::default()
        };
        let (second, samples) = quality.record(counts);
        assert_eq!(second.capture, Some(75.0));
        assert_eq!((second.settled, second.sequence_last), (4, 4));
        assert_eq!((samples.events, samples.in_error), (3, 2));
        assert_eq!(second.score, Some(50.0), "100, 50 and 0");
        assert_eq!(samples.top_rules().len(), 1, "{:?}", samples.top_rules());
        let third = quality.record(counts).0;
        assert_eq!((third.score, third.capture, third.lost), (None, None, 1));
        assert_eq!(quality.summary().events, 3);
    }

    #[test]
    fn capture_is_what_was_kept_of_what_was_to_be_kept() {
        let before = Counts {
            settled: 10,
            ..Counts::default()
        };
        for (settled, lost, unreadable, expected) in [
            (10, 0, 0, None),
            (110, 0, 0, Some(100.0)),
            (110, 50, 0, Some(50.0)),
            (10, 20, 0, Some(0.0)),
            (19, 0, 1, Some(90.0)),
            (10, 0, 1, Some(0.0)),
        ] {
            let counts = Counts {
                settled,
                lost,
                unreadable,
                ..Counts::default()
            };
            assert_eq!(counts.since(&before).capture(), expected);
        }
    }

    #[test]
    fn a_busy_home_is_sampled_every_second_anew() {
        let quality = Quality::new(1);
        let start = Instant::now();
        let wanted = |after_ms: u64| {
            let now = start + Duration::from_millis(after_ms);
            (0..1_000).filter(|_| quality.wants_event(now)).count()
        };
        assert_eq!((wanted(100), wanted(200), wanted(1_500)), (20, 0, 20));
    }
}
