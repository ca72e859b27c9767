//! Which alerts are on: thresholds, hysteresis, cooldown. Pure; time comes in as a value.

use std::time::{Duration, Instant};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Somebody should look at it.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

impl Severity {
    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Which way is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// Values under the thresholds.
    Low,
    /// Values over them.
    High,
}

/// What is watched.
#[derive(Debug)]
pub struct Rule {
    /// Name of the alert.
    pub name: &'static str,
    /// What it says, in front of the value.
    pub says: &'static str,
    /// Unit of the value.
    pub unit: &'static str,
    /// What to look at.
    pub remedy: &'static str,
    /// Which way is bad.
    pub bad: Bad,
    /// Past this it is a warning.
    pub warning: f64,
    /// Past this it is critical.
    pub critical: f64,
    /// As good as this, it is over.
    pub resolved: f64,
    /// It is not raised again sooner than this after it was raised last.
    pub cooldown: Duration,
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// The rules. Readings come in this order.
pub const RULES: [Rule; 7] = [
    Rule {
        name: "HaIngestorQualityScoreLow",
        says: "mean quality score of the events",
        unit: "of 100",
        remedy: "/status names the rules that most events break; quality_flags of the points name the entities",
        bad: Bad::Low,
        warning: 90.0,
        critical: 80.0,
        resolved: 95.0,
        cooldown: minutes(5),
    },
    Rule {
        name: "HaIngestorErrorRateHigh",
        says: "events that break a rule of the severity error",
        unit: "%",
        remedy: "/status names the rules that most events break; quality_flags of the points name the entities",
        bad: Bad::High,
        warning: 2.0,
        critical: 5.0,
        resolved: 1.0,
        cooldown: minutes(2),
    },
    Rule {
        name: "HaIngestorCaptureLow",
        says: "events kept of those that were to be",
        unit: "%",
        remedy: "see events_lost_total and the log: is the spool full, is Home Assistant's stream readable?",
        bad: Bad::Low,
        warning: 95.0,
        critical: 90.0,
        resolved: 99.0,
        cooldown: minutes(10),
    },
    Rule {
        name: "HaIngestorCoverageLow",
        says: "events that went on to enrichment instead of into the spool",
        unit: "%",
        remedy: "see /readyz: is the broker, or the database, away?",
        bad: Bad::Low,
        warning: 80.0,
        critical: 70.0,
        resolved: 90.0,
        cooldown: minutes(15),
    },
    Rule {
        name: "HaIngestorLatencyHigh",
        says: "mean time from the socket until an event is safe",
        unit: "ms",
        remedy: "see /readyz and the broker's or the database's load",
        bad: Bad::High,
        warning: 1_000.0,
        critical: 2_000.0,
        resolved: 500.0,
        cooldown: minutes(3),
    },
    Rule {
        name: "HaIngestorEventRateHigh",
        says: "events, in times of the last hour's average",
        unit: "times",
        remedy: "look for an entity or an automation that has gone wild",
        bad: Bad::High,
        warning: 3.0,
        critical: 10.0,
        resolved: 1.5,
        cooldown: minutes(5),
    },
    Rule {
        name: "HaIngestorEventRateLow",
        says: "events in the last five minutes, in times of the last hour's average",
        unit: "times",
        remedy: "is Home Assistant connected (/readyz), and are its integrations working?",
        bad: Bad::Low,
        warning: 0.1,
        // None at all.
        critical: f64::MIN_POSITIVE,
        resolved: 0.3,
        cooldown: minutes(5),
    },
];

/// One reading of each rule; none where there is nothing to judge by.
pub type Readings = [Option<f64>; RULES.len()];

/// How an alert changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Index in [`RULES`].
    pub rule: usize,
    /// What it was before.
    pub from: Option<Severity>,
    /// What it is now; none: resolved.
    pub to: Option<Severity>,
    /// The reading.
    pub value: f64,
}

/// Which alerts are on.
#[derive(Debug, Default)]
pub struct Alerts {
    states: [State; RULES.len()],
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    severity: Option<Severity>,
    raised_at: Option<Instant>,
}

impl Rule {
    /// Whether a value is past a threshold, on its bad side.
    fn is_past(&self, value: f64, threshold: f64) -> bool {
        match self.bad {
            Bad::Low => value < threshold,
            Bad::High => value > threshold,
        }
    }

    /// What an alert that is at `from` becomes. It rises at once; it falls by one threshold more
    /// than it rose at, so that a value that swings around a threshold does not.
    fn next(&self, from: Option<Severity>, value: f64) -> Option<Severity> {
        if self.is_past(value, self.critical) {
            return Some(Severity::Critical);
        }
        if self.is_past(value, self.warning) {
            // Out of critical only past the warning's threshold.
            return from.max(Some(Severity::Warning));
        }
        from.filter(|_| self.is_past(value, self.resolved))
            .map(|_| Severity::Warning)
    }
}

impl Alerts {
    /// Judges the readings of now. What has no reading stays as it is.
    pub fn judge(&mut self, now: Instant, readings: &Readings) -> Vec<Change> {
        let mut changes = Vec::new();
        for (rule, (state, reading)) in self.states.iter_mut().zip(readings).enumerate() {
            let Some(value) = *reading else { continue };
            let from = state.severity;
            let to = RULES[rule].next(from, value);
            let cooling = state
                .raised_at
                .is_some_and(|at| now.duration_since(at) < RULES[rule].cooldown);
            if to == from || (from.is_none() && cooling) {
                continue;
            }
            if to > from {
                state.raised_at = Some(now);
            }
            state.severity = to;
            changes.push(Change {
                rule,
                from,
                to,
                value,
            });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::Severity::{Critical, Warning};
    use super::*;

    /// Judges one rule's readings, a minute between them, and says the changes.
    fn changes(rule: usize, values: &[f64]) -> Vec<(usize, Option<Severity>)> {
        let (mut alerts, start) = (Alerts::default(), Instant::now());
        let mut found = Vec::new();
        for (minute, value) in values.iter().enumerate() {
            let mut readings: Readings = [None; RULES.len()];
            readings[rule] = Some(*value);
            let now = start + minutes(minute as u64);
            let changed = alerts.judge(now, &readings);
            found.extend(changed.iter().map(|change| (minute, change.to)));
        }
        found
    }

    #[test]
    fn thresholds_are_in_order_and_the_worse_value_is_the_worse_alert() {
        for rule in &RULES {
            assert!(rule.is_past(rule.critical, rule.warning), "{}", rule.name);
            assert!(rule.is_past(rule.warning, rule.resolved), "{}", rule.name);
        }
        // The original called a score of 85 critical and one of 75 a warning.
        assert_eq!(changes(0, &[85.0]), [(0, Some(Warning))]);
        assert_eq!(changes(0, &[75.0]), [(0, Some(Critical))]);
        assert_eq!(changes(1, &[3.0]), [(0, Some(Warning))]);
        assert_eq!(changes(1, &[6.0]), [(0, Some(Critical))]);
        assert_eq!(changes(6, &[0.0]), [(0, Some(Critical))]);
        assert_eq!(changes(6, &[0.05]), [(0, Some(Warning))]);
    }

    #[test]
    fn the_page_for_users_says_the_same() {
        let page = include_str!("../../../../docs/quality.md");
        for rule in &RULES {
            let row = page.lines().find(|line| line.contains(rule.name)).unwrap();
            let (past, over) = match rule.bad {
                Bad::Low => ("<", "≥"),
                Bad::High => (">", "≤"),
            };
            let critical = match rule.critical {
                f64::MIN_POSITIVE => "none".to_owned(),
                critical => format!("{past} {critical}"),
            };
            let cells = format!(
                "| {past} {} | {critical} | {over} {} | {} min |",
                rule.warning,
                rule.resolved,
                rule.cooldown.as_secs() / 60
            );
            assert!(row.ends_with(&cells), "{row} should end with {cells}");
        }
    }

    #[test]
    fn an_alert_falls_later_than_it_rose() {
        assert_eq!(changes(0, &[100.0, 94.0, 91.0]), []);
        assert_eq!(
            changes(0, &[89.0, 91.0, 94.9, 89.0, 95.0]),
            [(0, Some(Warning)), (4, None)]
        );
        assert_eq!(
            changes(0, &[89.0, 79.0, 81.0, 89.9, 90.0, 79.0, 100.0]),
            [
                (0, Some(Warning)),
                (1, Some(Critical)),
                (4, Some(Warning)),
                (5, Some(Critical)),
                (6, None)
            ]
        );
    }

    #[test]
    fn a_resolved_alert_waits_for_its_cooldown_but_a_worse_one_does_not() {
        // Cooldown five minutes: on again in the sixth, if it is still bad then.
        assert_eq!(
            changes(0, &[85.0, 100.0, 85.0, 85.0, 85.0, 85.0]),
            [(0, Some(Warning)), (1, None), (5, Some(Warning))]
        );
        assert_eq!(
            changes(0, &[85.0, 100.0, 85.0, 100.0, 100.0, 100.0]).len(),
            2
        );
        assert_eq!(
            changes(0, &[85.0, 70.0]),
            [(0, Some(Warning)), (1, Some(Critical))]
        );
    }

    #[test]
    fn nothing_to_judge_by_changes_nothing() {
        let mut alerts = Alerts::default();
        let now = Instant::now();
        let mut readings: Readings = [None; RULES.len()];
        readings[2] = Some(50.0);
        assert_eq!(alerts.judge(now, &readings).len(), 1);
        assert_eq!(alerts.judge(now + minutes(60), &[None; RULES.len()]), []);
        assert_eq!(alerts.states[2].severity, Some(Critical));
    }
}
