//! What is aimed at, where it stands in the reports, and the table. Pure.

use std::fmt::Write as _;

use serde_json::Value;

use super::runs::{RUNS, Run};

#[derive(Debug, Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

/// One figure.
struct Aim {
    about: &'static str,
    limit: Limit,
    unit: &'static str,
    digits: usize,
    /// Name of the run.
    run: &'static str,
    figure: fn(&Value) -> Option<f64>,
}

const AIMS: [Aim; 22] = [
    Aim {
        about: "queue, 1,000 events/s, source time → stored, p50",
        limit: Limit::AtMost(15.0),
        unit: "ms",
        digits: 1,
        run: "growth",
        figure: |report| number(report, "/cases/0/latency_ms/p50"),
    },
    Aim {
        about: "the same, p99",
        limit: Limit::AtMost(60.0),
        unit: "ms",
        digits: 1,
        run: "growth",
        figure: |report| number(report, "/cases/0/latency_ms/p99"),
    },
    Aim {
        about: "queue, highest held rate to the bare chain's",
        limit: Limit::AtLeast(0.8),
        unit: "",
        digits: 2,
        run: "ramp",
        figure: |report| number(report, "/ratio"),
    },
    Aim {
        about: "queue, null sink, highest held rate",
        limit: Limit::AtLeast(80_000.0),
        unit: "events/s",
        digits: 0,
        run: "ramp-null",
        figure: |report| number(report, "/held_events_per_s"),
    },
    Aim {
        about: "inline, highest held rate to a bare line writer's",
        limit: Limit::AtLeast(0.8),
        unit: "",
        digits: 2,
        run: "ramp-inline",
        figure: |report| number(report, "/ratio"),
    },
    Aim {
        about: "drain of 1,000,000 events by one worker to a bare consume-and-write",
        limit: Limit::AtLeast(0.8),
        unit: "",
        digits: 2,
        run: "backlog",
        figure: |report| number(drained_by(report, 1)?, "/ratio"),
    },
    Aim {
        about: "backlog_seconds to what it took, one worker, furthest off by",
        limit: Limit::AtMost(0.25),
        unit: "",
        digits: 2,
        run: "backlog",
        figure: |report| off(drained_by(report, 1)?, "/backlog/estimate/worst"),
    },
    Aim {
        about: "the same, two workers",
        limit: Limit::AtMost(0.25),
        unit: "",
        digits: 2,
        run: "backlog",
        figure: |report| off(drained_by(report, 2)?, "/backlog/estimate/worst"),
    },
    Aim {
        about: "memory at 10,000 events/s, producer",
        limit: Limit::AtMost(30.0),
        unit: "MB",
        digits: 1,
        run: "growth",
        figure: |report| number(report, "/cases/1/producer/rss_mb_max"),
    },
    Aim {
        about: "memory at 10,000 events/s, worker",
        limit: Limit::AtMost(60.0),
        unit: "MB",
        digits: 1,
        run: "growth",
        figure: |report| number(report, "/cases/1/worker/rss_mb_max"),
    },
    Aim {
        about: "memory, last 10 min to first 10 min of 30, producer",
        limit: Limit::AtMost(1.05),
        unit: "",
        digits: 3,
        run: "memory",
        figure: |report| number(report, "/producer/rss_ratio"),
    },
    Aim {
        about: "memory, last 10 min to first 10 min of 30, worker",
        limit: Limit::AtMost(1.05),
        unit: "",
        digits: 3,
        run: "memory",
        figure: |report| number(report, "/worker/rss_ratio"),
    },
    Aim {
        about: "processor time per million events at 10,000 events/s, producer",
        limit: Limit::AtMost(8.0),
        unit: "s",
        digits: 1,
        run: "growth",
        figure: |report| number(report, "/growth/producer/cpu_s_per_million/1"),
    },
    Aim {
        about: "processor time per million events at 10,000 events/s, worker",
        limit: Limit::AtMost(8.0),
        unit: "s",
        digits: 1,
        run: "growth",
        figure: |report| number(report, "/growth/worker/cpu_s_per_million/1"),
    },
    Aim {
        about: "processor time per million events at the highest held rate, producer",
        limit: Limit::AtMost(8.0),
        unit: "s",
        digits: 1,
        run: "ramp",
        figure: |report| of_best_step(report, "producer"),
    },
    Aim {
        about: "processor time per million events at the highest held rate, worker",
        limit: Limit::AtMost(8.0),
        unit: "s",
        digits: 1,
        run: "ramp",
        figure: |report| of_best_step(report, "worker"),
    },
    Aim {
        about: "idle (10 events/s), producer and worker together",
        limit: Limit::AtMost(1.0),
        unit: "% of a core",
        digits: 2,
        run: "idle",
        figure: idle,
    },
    Aim {
        about: "start to ready, producer",
        limit: Limit::AtMost(1.0),
        unit: "s",
        digits: 2,
        run: "growth",
        figure: |report| slowest_start(report, "producer"),
    },
    Aim {
        about: "start to ready, worker",
        limit: Limit::AtMost(1.0),
        unit: "s",
        digits: 2,
        run: "growth",
        figure: |report| slowest_start(report, "worker"),
    },
    Aim {
        about: "processor time per event at 10 times the rate, producer",
        limit: Limit::AtMost(1.2),
        unit: "times",
        digits: 2,
        run: "growth",
        figure: |report| number(report, "/growth/producer/ratio"),
    },
    Aim {
        about: "processor time per event at 10 times the rate, worker",
        limit: Limit::AtMost(1.2),
        unit: "times",
        digits: 2,
        run: "growth",
        figure: |report| number(report, "/growth/worker/ratio"),
    },
    Aim {
        about: "200 homes × 20 events/s, p99",
        limit: Limit::AtMost(250.0),
        unit: "ms",
        digits: 1,
        run: "homes",
        figure: |report| number(report, "/latency_ms/p99"),
    },
];

fn number(report: &Value, path: &str) -> Option<f64> {
    report.pointer(path)?.as_f64()
}

/// The case of so many workers with the database as it is; other commands have other cases beside.
fn drained_by(report: &Value, workers: u64) -> Option<&Value> {
    let mut cases = report["cases"].as_array()?.iter();
    cases.find(|case| {
        let backlog = &case["backlog"];
        backlog["workers"] == workers && backlog["sink_latency_ms"] == 0
    })
}

fn off(report: &Value, path: &str) -> Option<f64> {
    number(report, path).map(|ratio| (ratio - 1.0).abs())
}

fn idle(report: &Value) -> Option<f64> {
    let of = |role: &str| number(report, &format!("/{role}/cpu_s_load"));
    let load_s = number(report, "/load_s").filter(|load_s| *load_s > 0.0)?;
    Some((of("producer")? + of("worker")?) * 100.0 / load_s)
}

fn of_best_step(report: &Value, role: &str) -> Option<f64> {
    let steps = report["steps"].as_array()?.iter();
    let held = steps.filter(|step| step["holds"] == true);
    let rate = |step: &&Value| step["rate"].as_f64().unwrap_or_default();
    let best = held.max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    best["cpu_s_per_million"][role].as_f64()
}

/// Of all cases.
fn slowest_start(report: &Value, role: &str) -> Option<f64> {
    let cases = report["cases"].as_array()?.iter();
    let starts = cases.flat_map(|case| case["starts"].as_array().into_iter().flatten());
    let of_role = starts.filter(|start| {
        let process = start["process"].as_str();
        process.is_some_and(|process| process.starts_with(role))
    });
    of_role
        .filter_map(|start| start["seconds"].as_f64())
        .reduce(f64::max)
}

/// Markdown: aim, measured, whether it holds, and the command. A run that was not made, or that has
/// not such a figure, has a dash.
pub(super) fn table(quick: bool, report: impl Fn(&Run) -> Option<Value>) -> String {
    let reports: Vec<(&Run, Option<Value>)> = RUNS.iter().map(|run| (run, report(run))).collect();
    let known = || reports.iter().filter_map(|(_, report)| report.as_ref());
    let mut text = String::new();
    let machine = known().find_map(|report| report["machine"].as_str());
    if let Some(machine) = machine {
        let _ = writeln!(
            text,
            "{machine}, shared with broker, database and load tester\n"
        );
    }
    if quick {
        text.push_str("Short runs at low rates: the figures mean nothing.\n\n");
    }
    text.push_str("| what | aim | measured | holds | run |\n|---|---:|---:|---|---|\n");
    for aim in &AIMS {
        let found = reports.iter().find(|(run, _)| run.name == aim.run);
        let value = found.and_then(|(_, report)| (aim.figure)(report.as_ref()?));
        let shown = |value: f64| format!("{value:.0$} {1}", aim.digits, aim.unit);
        let limit = match aim.limit {
            Limit::AtMost(limit) => format!("≤ {}", shown(limit)),
            Limit::AtLeast(limit) => format!("≥ {}", shown(limit)),
        };
        let holds = value.map_or("-", |value| match aim.limit.holds(value) {
            true => "yes",
            false => "NO",
        });
        let value = value.map_or("-".to_owned(), shown);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {holds} | {} |",
            aim.about,
            limit.trim_end(),
            value.trim_end(),
            aim.run
        );
    }
    text.push_str("\n| run | command | verdict | events | missing | duplicates |\n");
    text.push_str("|---|---|---|---:|---:|---:|\n");
    for (run, report) in &reports {
        let report = report.as_ref().unwrap_or(&Value::Null);
        let count = |name: &str| {
            let count = report[name].as_u64();
            count.map_or("-".to_owned(), |count| count.to_string())
        };
        let _ = writeln!(
            text,
            "| {} | `loadtest {}` | {} | {} | {} | {} |",
            run.name,
            run.words(quick),
            report["verdict"].as_str().unwrap_or("not made"),
            count("events_sent"),
            count("missing"),
            count("duplicates"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_aim_has_its_run() {
        for aim in &AIMS {
            let about = aim.about;
            assert!(RUNS.iter().any(|run| run.name == aim.run), "{about}");
        }
    }

    #[test]
    fn an_aim_holds_fails_or_was_not_measured() {
        let growth = json!({
            "verdict": "pass", "events_sent": 7, "missing": 0, "duplicates": 0,
            "machine": "2 processors",
            "cases": [
                {"latency_ms": {"p50": 15.0, "p99": 60.1},
                    "starts": [{"process": "worker-1", "seconds": 0.2}]},
                {"starts": [{"process": "worker-1", "seconds": 1.5}]},
            ],
        });
        let idle = json!({
            "load_s": 100.0, "producer": {"cpu_s_load": 0.3}, "worker": {"cpu_s_load": 0.4},
        });
        let ramp = json!({"steps": [
            {"rate": 10.0, "holds": true, "cpu_s_per_million": {"producer": 5.0}},
            {"rate": 20.0, "holds": true, "cpu_s_per_million": {"producer": 9.0}},
            {"rate": 40.0, "holds": false, "cpu_s_per_million": {"producer": 1.0}},
        ]});
        let drained = |workers, sink_latency_ms, worst| {
            json!({"backlog": {"workers": workers, "sink_latency_ms": sink_latency_ms,
                "estimate": {"worst": worst}}})
        };
        let backlog =
            json!({"cases": [drained(1, 0, 1.28), drained(1, 50, 1.0), drained(2, 0, 0.9)]});
        let table = table(false, |run| match run.name {
            "backlog" => Some(backlog.clone()),
            "growth" => Some(growth.clone()),
            "idle" => Some(idle.clone()),
            "ramp" => Some(ramp.clone()),
            _ => None,
        });
        for row in [
            "p50 | ≤ 15.0 ms | 15.0 ms | yes | growth |",
            "p99 | ≤ 60.0 ms | 60.1 ms | NO | growth |",
            "worker | ≤ 1.00 s | 1.50 s | NO | growth |",
            "producer | ≤ 1.00 s | - | - | growth |",
            "together | ≤ 1.00 % of a core | 0.70 % of a core | yes | idle |",
            "held rate, producer | ≤ 8.0 s | 9.0 s | NO | ramp |",
            "bare chain's | ≥ 0.80 | - | - | ramp |",
            "furthest off by | ≤ 0.25 | 0.28 | NO | backlog |",
            "two workers | ≤ 0.25 | 0.10 | yes | backlog |",
        ] {
            assert!(table.contains(row), "{row} in\n{table}");
        }
        assert!(table.contains("| pass | 7 | 0 | 0 |") && table.contains("| not made | - |"));
    }
}
