//! Tables for people, of what only one scenario has.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::report::{Report, Verdict};

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
        let per_million = |cpu_s: f64| cpu_s * 1e6 / case.events_sent.max(1) as f64;
        for (role, cpu_s, rss_mb) in case.roles() {
            let _ = writeln!(
                text,
                "{:<16} {:.1} s CPU per million events, {rss_mb:.0} MB at most",
                format!("  {role}"),
                per_million(cpu_s)
            );
        }
        text.push_str(&extra(&case.extra));
    }
    text
}

impl Report {
    /// Seconds of processor time and the most memory in megabytes, of each role that there is.
    fn roles(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let of = |usage: super::report::ProcessUsage| (usage.cpu_s, usage.rss_mb_max);
        let roles = [
            ("producer", self.producer.map(of)),
            ("worker", self.worker.map(of)),
            ("broker", self.broker_cpu_s.zip(self.broker_rss_mb_max)),
            (
                "database",
                self.database_cpu_s.zip(self.database_rss_mb_max),
            ),
        ];
        let known = roles.into_iter();
        known.filter_map(|(role, usage)| usage.map(|(cpu_s, rss_mb)| (role, cpu_s, rss_mb)))
    }
}

/// What a scenario adds: of a backlog its drain, of a ramp its steps.
pub(super) fn extra(extra: &Map<String, Value>) -> String {
    let mut text = String::new();
    if let Some(backlog) = extra.get("backlog") {
        drained(&mut text, backlog);
    }
    if let Some(steps) = extra.get("steps").and_then(Value::as_array) {
        stepped(&mut text, extra, steps);
    }
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
    for estimate in backlog["estimates"].as_array().into_iter().flatten() {
        let number = |name: &str| estimate[name].as_f64().unwrap_or_default();
        let _ = writeln!(
            text,
            "{:<16} at {:.1} s: {} frames waited, said {:.1} s, took {:.1} s",
            "  backlog",
            number("at_s"),
            number("queue_depth"),
            number("backlog_seconds"),
            number("took_s"),
        );
    }
}

fn stepped(text: &mut String, extra: &Map<String, Value>, steps: &[Value]) {
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
    let number = |name: &str| extra.get(name).and_then(Value::as_f64);
    if let Some(held) = number("held_events_per_s") {
        let _ = writeln!(text, "{:<16} {held:.0} events/s", "held");
    }
    if let Some(bare) = number("bare_events_per_s") {
        let _ = writeln!(text, "{:<16} {bare:.0} events/s", "bare chain");
    }
    if let Some(ratio) = number("ratio") {
        let _ = writeln!(text, "{:<16} {ratio:.2} of the bare chain", "ratio");
    }
    if let Some(criterion) = extra.get("criterion").and_then(Value::as_str) {
        let _ = writeln!(text, "{:<16} {criterion}", "criterion");
    }
}
