//! What is aimed at, where it stands in the reports, and the table. Pure.

use std::fmt::Write as _;

use loadtest_report::{Report, Role};

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
    figure: fn(&Report) -> Option<f64>,
}

const AIMS: [Aim; 22] = [
    Aim {
        about: "queue, 1,000 events/s, source time → stored, p50",
        limit: Limit::AtMost(15.0),
        unit: "ms",
        digits: 1,
        run: "growth",
        figure: |report| Some(report.cases.first()?.latency_ms?.p50),
    },
    Aim {
        about: "the same, p99",
        limit: Limit::AtMost(60.0),
        unit: "ms",
        digits: 1,
        run: "growth",
        figure: |report| Some(report.cases.first()?.latency_ms?.p99),
    },
    Aim {
        about: "queue, highest held rate to the bare chain's",
        limit: Limit::AtLeast(0.8),
        unit: "",
        digits: 2,
        run: "ramp",
        figure: |report| ratio(report),
    },
    Aim {
        about: "queue, null sink, highest held rate",
        limit: Limit::AtLeast(80_000.0),
        unit: "events/s",
        digits: 0,
        run: "ramp-null",
        figure: |report| report.extra.ramp.as_ref()?.held_events_per_s,
    },
    Aim {
        about: "inline, highest held rate to a bare line writer's",
        limit: Limit::AtLeast(0.8),
        unit: "",
        digits: 2,
        run: "ramp-inline",
        figure: |report| ratio(report),
    },
    Aim {
        about: "drain of 1,000,000 events by one worker to a bare consume-and-write",
        limit: Limit::AtLeast(0.8),
        unit: "",
        digits: 2,
        run: "backlog",
        figure: |report| ratio(drained_by(report, 1)?),
    },
    Aim {
        about: "backlog_seconds to what it took, one worker, furthest off by",
        limit: Limit::AtMost(0.25),
        unit: "",
        digits: 2,
        run: "backlog",
        figure: |report| off(drained_by(report, 1)?),
    },
    Aim {
        about: "the same, two workers",
        limit: Limit::AtMost(0.25),
        unit: "",
        digits: 2,
        run: "backlog",
        figure: |report| off(drained_by(report, 2)?),
    },
    Aim {
        about: "memory at 10,000 events/s, producer",
        limit: Limit::AtMost(30.0),
        unit: "MB",
        digits: 1,
        run: "growth",
        figure: |report| report.cases.get(1)?.role(Role::Producer).rss_mb_max,
    },
    Aim {
        about: "memory at 10,000 events/s, worker",
        limit: Limit::AtMost(60.0),
        unit: "MB",
        digits: 1,
        run: "growth",
        figure: |report| report.cases.get(1)?.role(Role::Worker).rss_mb_max,
    },
    Aim {
        about: "memory, last 10 min to first 10 min of 30, producer",
        limit: Limit::AtMost(1.05),
        unit: "",
        digits: 3,
        run: "memory",
        figure: |report| report.role(Role::Producer).rss_ratio,
    },
    Aim {
        about: "memory, last 10 min to first 10 min of 30, worker",
        limit: Limit::AtMost(1.05),
        unit: "",
        digits: 3,
        run: "memory",
        figure: |report| report.role(Role::Worker).rss_ratio,
    },
    Aim {
        about: "processor time per million events at 10,000 events/s, producer",
        limit: Limit::AtMost(8.0),
        unit: "s",
        digits: 1,
        run: "growth",
        figure: |report| at_more(report, Role::Producer),
    },
    Aim {
        about: "processor time per million events at 10,000 events/s, worker",
        limit: Limit::AtMost(8.0),
        unit: "s",
        digits: 1,
        run: "growth",
        figure: |report| at_more(report, Role::Worker),
    },
    Aim {
        about: "processor time per million events at the highest held rate, producer",
        limit: Limit::AtMost(8.0),
        unit: "s",
        digits: 1,
        run: "ramp",
        figure: |report| of_best_step(report, Role::Producer),
    },
    Aim {
        about: "processor time per million events at the highest held rate, worker",
        limit: Limit::AtMost(8.0),
        unit: "s",
        digits: 1,
        run: "ramp",
        figure: |report| of_best_step(report, Role::Worker),
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
        figure: |report| slowest_start(report, Role::Producer),
    },
    Aim {
        about: "start to ready, worker",
        limit: Limit::AtMost(1.0),
        unit: "s",
        digits: 2,
        run: "growth",
        figure: |report| slowest_start(report, Role::Worker),
    },
    Aim {
        about: "processor time per event at 10 times the rate, producer",
        limit: Limit::AtMost(1.2),
        unit: "times",
        digits: 2,
        run: "growth",
        figure: |report| report.growth(Role::Producer),
    },
    Aim {
        about: "processor time per event at 10 times the rate, worker",
        limit: Limit::AtMost(1.2),
        unit: "times",
        digits: 2,
        run: "growth",
        figure: |report| report.growth(Role::Worker),
    },
    Aim {
        about: "200 homes × 20 events/s, p99",
        limit: Limit::AtMost(250.0),
        unit: "ms",
        digits: 1,
        run: "homes",
        figure: |report| Some(report.latency_ms?.p99),
    },
];

fn ratio(report: &Report) -> Option<f64> {
    report.extra.beside_bare.as_ref()?.ratio
}

/// Processor time per million events at the second rate of `growth`.
fn at_more(report: &Report, role: Role) -> Option<f64> {
    let growth = report.extra.growth.as_ref()?.get(&role)?;
    Some(growth.cpu_s_per_million[1])
}

/// The case of this many workers with the database as it is; other commands have other cases beside.
fn drained_by(report: &Report, workers: usize) -> Option<&Report> {
    report.cases.iter().find(|case| {
        let backlog = case.extra.backlog.as_ref();
        backlog.is_some_and(|backlog| backlog.workers == workers && backlog.sink_latency_ms == 0)
    })
}

/// By how much the worst estimate of a backlog was off.
fn off(report: &Report) -> Option<f64> {
    let estimate = report.extra.backlog.as_ref()?.estimate.as_ref()?;
    Some((estimate.worst - 1.0).abs())
}

fn idle(report: &Report) -> Option<f64> {
    let load_s = report.load_s.filter(|load_s| *load_s > 0.0)?;
    let of = |role| report.role(role).cpu_s_load;
    Some((of(Role::Producer)? + of(Role::Worker)?) * 100.0 / load_s)
}

/// Of the highest rate that held.
fn of_best_step(report: &Report, role: Role) -> Option<f64> {
    let steps = report.extra.ramp.as_ref()?.steps.iter();
    let held = steps.filter(|step| step.holds);
    let best = held.max_by(|a, b| a.rate.total_cmp(&b.rate))?;
    best.cpu_s_per_million.get(&role).copied()
}

/// Of all cases.
fn slowest_start(report: &Report, role: Role) -> Option<f64> {
    let cases = report.cases.iter();
    cases
        .filter_map(|case| case.slowest_start(role))
        .reduce(f64::max)
}

/// Markdown: aim, measured, whether it holds, and the command. A run that was not made, or that has
/// not such a figure, has a dash.
pub(super) fn table(quick: bool, report: impl Fn(&Run) -> Option<Report>) -> String {
    let reports: Vec<(&Run, Option<Report>)> = RUNS.iter().map(|run| (run, report(run))).collect();
    let known = || reports.iter().filter_map(|(_, report)| report.as_ref());
    let mut text = String::new();
    let machine = known().find_map(|report| report.machine.as_ref());
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
        let report = report.as_ref();
        let count = |of: fn(&Report) -> Option<u64>| {
            let count = report.and_then(of);
            count.map_or("-".to_owned(), |count| count.to_string())
        };
        let _ = writeln!(
            text,
            "| {} | `loadtest {}` | {} | {} | {} | {} |",
            run.name,
            run.words(quick),
            report.map_or("not made", |report| report.verdict.as_str()),
            count(|report| Some(report.events_sent)),
            count(|report| report.missing),
            count(|report| report.duplicates),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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
        let of = |json: &Value| serde_json::from_value(json.clone()).unwrap();
        let table = table(false, |run| match run.name {
            "backlog" => of(&backlog),
            "growth" => of(&growth),
            "idle" => of(&idle),
            "ramp" => of(&ramp),
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
