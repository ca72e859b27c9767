//! `loadtest report --compare`: two reports side by side.

use std::fmt::Write as _;

use serde_json::Value;

/// Figures in their order: name, place in a report, digits behind the point.
const FIGURES: [(&str, &str, usize); 29] = [
    ("events sent", "/events_sent", 0),
    ("events stored", "/events_stored", 0),
    ("missing", "/missing", 0),
    ("duplicates", "/duplicates", 0),
    ("dead letters", "/dead_lettered", 0),
    ("events/s", "/events_per_s", 0),
    ("bare events/s", "/bare_events_per_s", 0),
    (
        "bare, any delay, events/s",
        "/bare_unbounded_events_per_s",
        0,
    ),
    ("of the bare chain", "/ratio", 2),
    ("latency p50, ms", "/latency_ms/p50", 1),
    ("latency p95, ms", "/latency_ms/p95", 1),
    ("latency p99, ms", "/latency_ms/p99", 1),
    ("latency max, ms", "/latency_ms/max", 1),
    ("producer, MB at most", "/producer/rss_mb_max", 1),
    ("worker, MB at most", "/worker/rss_mb_max", 1),
    ("producer, last third to first", "/producer/rss_ratio", 3),
    ("worker, last third to first", "/worker/rss_ratio", 3),
    ("queue, batches at most", "/queue_depth_max", 0),
    ("drain, s", "/drain_s", 2),
    ("recovery, s", "/recovery_s", 2),
    ("backlog drain, s", "/backlog/drain_s", 2),
    ("backlog drain, events/s", "/backlog/drain_events_per_s", 0),
    ("backlog_seconds, median", "/backlog/estimate/median", 2),
    ("backlog_seconds, worst", "/backlog/estimate/worst", 2),
    ("producer, growth", "/growth/producer/ratio", 2),
    ("worker, growth", "/growth/worker/ratio", 2),
    ("load, s", "/load_s", 1),
    ("broker, MB at most", "/broker_rss_mb_max", 1),
    ("database, MB at most", "/database_rss_mb_max", 1),
];
/// Seconds of processor time, which are compared by a million events.
const PROCESSORS: [(&str, &str); 9] = [
    ("producer, CPU s per million", "/producer/cpu_s"),
    ("worker, CPU s per million", "/worker/cpu_s"),
    ("broker, CPU s per million", "/broker_cpu_s"),
    ("database, CPU s per million", "/database_cpu_s"),
    ("producer, the same under load", "/producer/cpu_s_load"),
    ("worker, the same under load", "/worker/cpu_s_load"),
    ("broker, the same under load", "/broker_cpu_s_load"),
    ("database, the same under load", "/database_cpu_s_load"),
    ("load tester, the same under load", "/loadtest/cpu_s_load"),
];

/// The table; reports of several cases case by case, those of the same name together.
pub(super) fn table(before: &Value, after: &Value) -> String {
    let mut text = format!("{}\n{}\n", title("A", before), title("B", after));
    let (cases_before, cases_after) = (cases(before), cases(after));
    if cases_before.is_empty() && cases_after.is_empty() {
        rows(&mut text, before, after);
        return text;
    }
    let name = |case: &Value| case["case"].as_str().unwrap_or_default().to_owned();
    for case in cases_before {
        let other = cases_after.iter().find(|other| name(other) == name(case));
        match other {
            Some(other) => {
                let _ = writeln!(text, "\n{}", name(case));
                rows(&mut text, case, other);
            }
            None => {
                let _ = writeln!(text, "\n{}: only in A", name(case));
            }
        }
    }
    for case in cases_after {
        if !cases_before.iter().any(|other| name(other) == name(case)) {
            let _ = writeln!(text, "\n{}: only in B", name(case));
        }
    }
    text
}

fn cases(report: &Value) -> &[Value] {
    report["cases"].as_array().map_or(&[], Vec::as_slice)
}

fn title(dead_letter: &str, report: &Value) -> String {
    let text = |name: &str| report[name].as_str().unwrap_or("-");
    format!(
        "{dead_letter}: {}, mode {}, sink {}, {} events/s asked, {}, {}",
        text("scenario"),
        text("mode"),
        text("sink"),
        report["rate"].as_f64().unwrap_or_default(),
        text("verdict"),
        text("machine"),
    )
}

fn rows(text: &mut String, before: &Value, after: &Value) {
    let _ = writeln!(text, "{:<34} {:>14} {:>14} {:>8}", "", "A", "B", "B/A");
    for (name, path, digits) in FIGURES {
        let of = |report: &Value| report.pointer(path).and_then(Value::as_f64);
        row(text, name, digits, of(before), of(after));
    }
    for role in ["producer", "worker"] {
        row(
            text,
            &format!("{role}, start to ready, s"),
            2,
            start(before, role),
            start(after, role),
        );
    }
    for (name, path) in PROCESSORS {
        let of = |report: &Value| {
            let cpu_s = report.pointer(path).and_then(Value::as_f64)?;
            let of_load = path
                .ends_with("_load")
                .then(|| report["load_events"].as_f64());
            let sent = of_load.flatten().or(report["events_sent"].as_f64());
            let sent = sent.filter(|sent| *sent > 0.0)?;
            Some(cpu_s * 1e6 / sent)
        };
        row(text, name, 1, of(before), of(after));
    }
}

/// The slowest.
fn start(report: &Value, role: &str) -> Option<f64> {
    let starts = report["starts"].as_array()?.iter();
    let of_role = starts.filter(|start| {
        let process = start["process"].as_str();
        process.is_some_and(|process| process.starts_with(role))
    });
    let seconds = of_role.filter_map(|start| start["seconds"].as_f64());
    seconds.reduce(f64::max)
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
    use serde_json::json;

    fn report(p99: f64, sent: u64) -> Value {
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
        let with = |case: &str, p99| {
            let mut report = report(p99, 10);
            report["case"] = case.into();
            report
        };
        let before =
            json!({"scenario": "modes", "cases": [with("queue", 8.0), with("inline", 1.0)]});
        let after =
            json!({"scenario": "modes", "cases": [with("queue", 4.0), with("service", 1.0)]});
        let table = table(&before, &after);
        assert_eq!(line(&table, "latency p99, ms"), ["8.0", "4.0", "0.50"]);
        assert!(
            table.contains("inline: only in A") && table.contains("service: only in B"),
            "{table}"
        );
    }
}
