//! Tables for people, of what only one scenario has.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::process::Start;
use crate::report::{ProcessUsage, Report, Verdict};

/// Of more than these only the slowest are shown.
const STARTS_SHOWN: usize = 8;

/// A report of several cases: a line each, and what is wrong.
pub(super) fn cases(report: &Report) -> String {
    let verdict = match report.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::NotPossible => "not possible",
    };
    let mut text = format!(
        "{:<16} {}\n{:<16} {verdict}\n",
        "scenario", report.scenario, "verdict"
    );
    for reason in &report.reasons {
        let _ = writeln!(text, "{:<16} - {reason}", "");
    }
    for case in &report.cases {
        let name = case.case.as_deref().unwrap_or_default();
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        let _ = write!(
            text,
            "\n{name}\n{:<16} {} sent, {} stored, missing {}, duplicates {}\n",
            "  events",
            case.events_sent,
            number(case.events_stored),
            number(case.missing),
            number(case.duplicates),
        );
        if let Some(latency) = case.latency_ms {
            let _ = writeln!(
                text,
                "{:<16} p50 {:.1}, p95 {:.1}, p99 {:.1}, max {:.1}",
                "  latency ms", latency.p50, latency.p95, latency.p99, latency.max
            );
        }
        for (role, usage) in case.used() {
            let role = format!("  {role}");
            let _ = writeln!(text, "{role:<16} {}", usage.words(case));
        }
        if !case.starts.is_empty() {
            let _ = writeln!(text, "{:<16} {}", "  ready after", starts(&case.starts));
        }
        text.push_str(&extra(&case.extra));
    }
    if let Some(growth) = report.extra.get("growth").and_then(Value::as_object) {
        grown(&mut text, growth);
    }
    text
}

fn grown(text: &mut String, growth: &Map<String, Value>) {
    text.push_str("\nCPU s per million events, at the first rate and at the second\n");
    for (role, row) in growth {
        let number = |path: &str| row.pointer(path).and_then(Value::as_f64);
        let _ = writeln!(
            text,
            "{:<16} {:.1} and {:.1}, ratio {}",
            format!("  {role}"),
            number("/cpu_s_per_million/0").unwrap_or_default(),
            number("/cpu_s_per_million/1").unwrap_or_default(),
            number("/ratio").map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        );
    }
}

impl ProcessUsage {
    /// In words: in the load's own time where that is known.
    pub(super) fn words(&self, report: &Report) -> String {
        let of = |cpu_s: f64, events: u64| cpu_s * 1e6 / events.max(1) as f64;
        let of_load = report.load_events.unwrap_or(report.events_sent);
        let mut text = match report.load_s {
            Some(load_s) => format!(
                "{:.2} s CPU under load ({:.1} s per million events, {:.1} % of a core), {:.2} s \
                 with the end",
                self.cpu_s_load,
                of(self.cpu_s_load, of_load),
                self.cpu_s_load * 100.0 / load_s.max(1e-3),
                self.cpu_s,
            ),
            None => format!(
                "{:.2} s CPU ({:.1} s per million events)",
                self.cpu_s,
                of(self.cpu_s, report.events_sent)
            ),
        };
        let _ = write!(text, ", {:.0} MB at most", self.rss_mb_max);
        if let Some(ratio) = self.rss_ratio {
            let _ = write!(text, ", last third to first {ratio:.2}");
        }
        text
    }
}

impl Report {
    /// Of each role that there is.
    pub fn used(&self) -> impl Iterator<Item = (&'static str, ProcessUsage)> {
        let service = |cpu_s: Option<f64>, load: Option<f64>, rss_mb_max: Option<f64>| {
            Some(ProcessUsage {
                cpu_s: cpu_s?,
                cpu_s_load: load.unwrap_or_default(),
                rss_mb_max: rss_mb_max?,
                rss_ratio: None,
            })
        };
        let broker = service(
            self.broker_cpu_s,
            self.broker_cpu_s_load,
            self.broker_rss_mb_max,
        );
        let database = service(
            self.database_cpu_s,
            self.database_cpu_s_load,
            self.database_rss_mb_max,
        );
        let roles = [
            ("producer", self.producer),
            ("worker", self.worker),
            ("broker", broker),
            ("database", database),
            ("loadtest", self.loadtest),
        ];
        let known = roles.into_iter();
        known.filter_map(|(role, usage)| Some((role, usage?)))
    }
}

/// How long the processes took until they were ready; of many the slowest.
pub(super) fn starts(starts: &[Start]) -> String {
    let shown = |start: &Start| format!("{} {:.2} s", start.process, start.seconds);
    let mut slowest: Vec<&Start> = starts.iter().collect();
    slowest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    if starts.len() > STARTS_SHOWN {
        let slowest: Vec<String> = slowest.into_iter().take(3).map(shown).collect();
        return format!("{} of {}", slowest.join(", "), starts.len());
    }
    let all: Vec<String> = starts.iter().map(shown).collect();
    all.join(", ")
}

/// What a scenario adds: of a backlog its drain, of a ramp its steps.
pub(super) fn extra(extra: &Map<String, Value>) -> String {
    let mut text = String::new();
    if let Some(backlog) = extra.get("backlog") {
        drained(&mut text, backlog);
    }
    if let Some(steps) = extra.get("steps").and_then(Value::as_array) {
        stepped(&mut text, steps);
    }
    beside_bare(&mut text, extra);
    text
}

fn drained(text: &mut String, backlog: &Value) {
    let number = |name: &str| backlog[name].as_f64().unwrap_or_default();
    let _ = writeln!(
        text,
        "{:<16} {} events in {:.2} s from the start of the workers ({:.0}/s); ready after {:.2} s",
        "  drain",
        number("events"),
        number("drain_s"),
        number("drain_events_per_s"),
        number("ready_s"),
    );
    cost(text, &backlog["cpu_s_per_million"]);
    let estimate = &backlog["estimate"];
    if estimate.is_object() {
        let number = |name: &str| estimate[name].as_f64().unwrap_or_default();
        let _ = writeln!(
            text,
            "{:<16} said to took: median {:.2}, worst {:.2}",
            "  backlog",
            number("median"),
            number("worst"),
        );
    }
    for estimate in backlog["estimates"].as_array().into_iter().flatten() {
        let number = |name: &str| estimate[name].as_f64().unwrap_or_default();
        let _ = writeln!(
            text,
            "{:<16} at {:.1} s: {} batches waited, said {:.1} s, took {:.1} s",
            "  backlog",
            number("at_s"),
            number("queue_depth"),
            number("backlog_seconds"),
            number("took_s"),
        );
    }
}

/// Processor seconds in a million events.
fn cost(text: &mut String, by_role: &Value) {
    let Some(by_role) = by_role.as_object() else {
        return;
    };
    let used = by_role
        .iter()
        .filter_map(|(role, used)| Some(format!("{role} {:.1}", used.as_f64()?)));
    let used: Vec<String> = used.collect();
    let _ = writeln!(
        text,
        "{:<16} {} s CPU per million events",
        "  cost",
        used.join(", ")
    );
}

fn stepped(text: &mut String, steps: &[Value]) {
    for step in steps {
        let number = |path: &str| step.pointer(path).and_then(Value::as_f64);
        let reasons = step["reasons"].as_array().into_iter().flatten();
        let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
        let verdict = match reasons.is_empty() {
            true => "holds".to_owned(),
            false => format!("does not hold: {}", reasons.join(", ")),
        };
        let _ = writeln!(
            text,
            "{:<16} {:.0}/s: p50 {:.1} ms, p99 {:.1} ms, {verdict}",
            "step",
            number("/rate").unwrap_or_default(),
            number("/latency_ms/p50").unwrap_or_default(),
            number("/latency_ms/p99").unwrap_or_default(),
        );
    }
}

fn beside_bare(text: &mut String, extra: &Map<String, Value>) {
    let number = |name: &str| extra.get(name).and_then(Value::as_f64);
    if let Some(held) = number("held_events_per_s") {
        let _ = writeln!(text, "{:<16} {held:.0} events/s", "held");
    }
    if let Some(bare) = number("bare_events_per_s") {
        let _ = writeln!(text, "{:<16} {bare:.0} events/s", "bare chain");
    }
    if let Some(bare) = extra.get("bare") {
        cost(text, &bare["cpu_s_per_million"]);
    }
    if let Some(bare) = number("bare_unbounded_events_per_s") {
        let _ = writeln!(text, "{:<16} {bare:.0} events/s, with any delay", "");
    }
    if let Some(ratio) = number("ratio") {
        let _ = writeln!(text, "{:<16} {ratio:.2} of the bare chain", "ratio");
    }
    if let Some(criterion) = extra.get("criterion").and_then(Value::as_str) {
        let _ = writeln!(text, "{:<16} {criterion}", "criterion");
    }
}
