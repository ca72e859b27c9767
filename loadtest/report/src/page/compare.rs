//! `loadtest report --compare`: two reports side by side.

use std::fmt::Write as _;

use super::figures::{
    Figure, backlog, bare, bare_unbounded, dead_lettered, duplicates, estimate, events_sent,
    events_stored, latency, missing, number, queue_depth, ratio,
};
use crate::report::Report;
use crate::role::Role;

const FIGURES: [Figure; 29] = [
    ("events sent", events_sent, 0),
    ("events stored", events_stored, 0),
    ("missing", missing, 0),
    ("duplicates", duplicates, 0),
    ("dead letters", dead_lettered, 0),
    ("events/s", |report| Some(report.events_per_s), 0),
    ("bare events/s", bare, 0),
    ("bare, any delay, events/s", bare_unbounded, 0),
    ("of the bare chain", ratio, 2),
    ("latency p50, ms", |report| latency(report, |ms| ms.p50), 1),
    ("latency p95, ms", |report| latency(report, |ms| ms.p95), 1),
    ("latency p99, ms", |report| latency(report, |ms| ms.p99), 1),
    ("latency max, ms", |report| latency(report, |ms| ms.max), 1),
    (
        "producer, MB at most",
        |report| report.role(Role::Producer).rss_mb_max,
        1,
    ),
    (
        "worker, MB at most",
        |report| report.role(Role::Worker).rss_mb_max,
        1,
    ),
    (
        "producer, last third to first",
        |report| report.role(Role::Producer).rss_ratio,
        3,
    ),
    (
        "worker, last third to first",
        |report| report.role(Role::Worker).rss_ratio,
        3,
    ),
    ("queue, batches at most", queue_depth, 0),
    ("drain, s", |report| Some(report.drain_s), 2),
    ("recovery, s", |report| report.recovery_s, 2),
    (
        "backlog drain, s",
        |report| backlog(report, |backlog| backlog.drain_s),
        2,
    ),
    (
        "backlog drain, events/s",
        |report| backlog(report, |backlog| backlog.drain_events_per_s),
        0,
    ),
    (
        "backlog_seconds, median",
        |report| estimate(report, |estimate| estimate.median),
        2,
    ),
    (
        "backlog_seconds, worst",
        |report| estimate(report, |estimate| estimate.worst),
        2,
    ),
    (
        "producer, growth",
        |report| report.growth(Role::Producer),
        2,
    ),
    ("worker, growth", |report| report.growth(Role::Worker), 2),
    ("load, s", |report| report.load_s, 1),
    ("broker, MB at most", |report| report.broker_rss_mb_max, 1),
    (
        "database, MB at most",
        |report| report.database_rss_mb_max,
        1,
    ),
];
/// Those of which the processor time is compared.
const PROCESSORS: [Role; 4] = [Role::Producer, Role::Worker, Role::Broker, Role::Database];
/// Those of which the processor time under load is compared, with their names.
const UNDER_LOAD: [(&str, Role); 5] = [
    ("producer", Role::Producer),
    ("worker", Role::Worker),
    ("broker", Role::Broker),
    ("database", Role::Database),
    ("load tester", Role::LoadTester),
];

/// The table; reports of several cases case by case, those of the same name together.
pub(super) fn table(before: &Report, after: &Report) -> String {
    let mut text = format!("{}\n{}\n", title("A", before), title("B", after));
    if before.cases.is_empty() && after.cases.is_empty() {
        rows(&mut text, before, after);
        return text;
    }
    for case in &before.cases {
        let name = case.case.as_deref().unwrap_or_default();
        match after.cases.iter().find(|other| other.case == case.case) {
            Some(other) => {
                let _ = writeln!(text, "\n{name}");
                rows(&mut text, case, other);
            }
            None => {
                let _ = writeln!(text, "\n{name}: only in A");
            }
        }
    }
    for case in &after.cases {
        if !before.cases.iter().any(|other| other.case == case.case) {
            let name = case.case.as_deref().unwrap_or_default();
            let _ = writeln!(text, "\n{name}: only in B");
        }
    }
    text
}

fn title(dead_letter: &str, report: &Report) -> String {
    format!(
        "{dead_letter}: {}, mode {}, sink {}, {} events/s asked, {}, {}",
        report.scenario,
        report.mode,
        report.sink,
        report.rate,
        report.verdict.as_str(),
        report.machine.as_deref().unwrap_or("-"),
    )
}

fn rows(text: &mut String, before: &Report, after: &Report) {
    let _ = writeln!(text, "{:<34} {:>14} {:>14} {:>8}", "", "A", "B", "B/A");
    for (name, of, digits) in FIGURES {
        row(text, name, digits, of(before), of(after));
    }
    for role in [Role::Producer, Role::Worker] {
        let name = format!("{}, start to ready, s", role.as_str());
        let of = |report: &Report| report.slowest_start(role);
        row(text, &name, 2, of(before), of(after));
    }
    for role in PROCESSORS {
        let name = format!("{}, CPU s per million", role.as_str());
        let of = |report: &Report| per_million(report.role(role).cpu_s?, report.events_sent);
        row(text, &name, 1, of(before), of(after));
    }
    for (whose, role) in UNDER_LOAD {
        let name = format!("{whose}, the same under load");
        let of = |report: &Report| {
            let events = report.load_events.unwrap_or(report.events_sent);
            per_million(report.role(role).cpu_s_load?, events)
        };
        row(text, &name, 1, of(before), of(after));
    }
}

fn per_million(cpu_s: f64, events: u64) -> Option<f64> {
    let events = number(Some(events)).filter(|events| *events > 0.0)?;
    Some(cpu_s * 1e6 / events)
}

fn row(text: &mut String, name: &str, digits: usize, before: Option<f64>, after: Option<f64>) {
    if before.is_none() && after.is_none() {
        return;
    }
    let number =
        |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let ratio = match (before, after) {
        (Some(before), Some(after)) if before != 0.0 => format!("{:.2}", after / before),
        (Some(_), Some(0.0)) => "1.00".to_owned(),
        _ => "-".to_owned(),
    };
    let _ = writeln!(
        text,
        "{name:<34} {:>14} {:>14} {ratio:>8}",
        number(before),
        number(after)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn report(p99: f64, sent: u64) -> Report {
        serde_json::from_value(json(p99, sent)).unwrap()
    }

    fn json(p99: f64, sent: u64) -> Value {
        json!({
            "scenario": "steady", "mode": "queue", "sink": "influxdb", "rate": 100.0,
            "verdict": "pass", "machine": "2 processors", "events_sent": sent, "missing": 0,
            "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": p99, "max": 9.0},
            "producer": {"cpu_s": 2.0, "rss_mb_max": 20.0}, "worker": null,
            "loadtest": {"cpu_s_load": 1.0},
            "starts": [{"process": "producer", "seconds": 0.2},
                {"process": "producer-2", "seconds": 0.4}],
        })
    }

    fn line<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
        let line = table.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().split_whitespace().collect()
    }

    #[test]
    fn each_figure_has_its_ratio() {
        let table = table(&report(10.0, 1_000), &report(5.0, 2_000));
        assert_eq!(line(&table, "latency p99, ms"), ["10.0", "5.0", "0.50"]);
        assert_eq!(
            line(&table, "producer, CPU s per million"),
            ["2000.0", "1000.0", "0.50"]
        );
        assert_eq!(line(&table, "missing"), ["0", "0", "1.00"]);
        assert_eq!(
            line(&table, "load tester, the same under load"),
            ["1000.0", "500.0", "0.50"]
        );
        let ready = line(&table, "producer, start to ready, s");
        assert_eq!(ready, ["0.40", "0.40", "1.00"]);
        assert!(!table.contains("worker"), "nobody has one:\n{table}");
    }

    #[test]
    fn cases_are_compared_by_name() {
        let with = |case: &str, p99| Report {
            case: Some(case.to_owned()),
            ..report(p99, 10)
        };
        let of = |cases: [Report; 2]| Report {
            scenario: "modes".to_owned(),
            cases: cases.into(),
            ..Report::default()
        };
        let before = of([with("queue", 8.0), with("inline", 1.0)]);
        let after = of([with("queue", 4.0), with("service", 1.0)]);
        let table = table(&before, &after);
        assert_eq!(line(&table, "latency p99, ms"), ["8.0", "4.0", "0.50"]);
        assert!(
            table.contains("inline: only in A") && table.contains("service: only in B"),
            "{table}"
        );
    }
}
