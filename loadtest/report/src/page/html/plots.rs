//! Plots of a report's page.

use std::fmt::Write as _;

use crate::extra::{Backlog, EstimateSample};
use crate::page::figures::number;
use crate::page::plot::{Band, Line, Plot};
use crate::report::Report;
use crate::role::Role;
use crate::series::{RoleSample, Sample};

/// A line of a plot: its name and its value in a sample.
type Named<'a> = (&'a str, fn(&Sample) -> Option<f64>);

pub(super) fn backlog(page: &mut String, backlog: &Backlog) {
    let _ = writeln!(
        page,
        "<p>{} events in {:.2} s from the start of the workers, {:.0} events/s.</p>",
        backlog.events, backlog.drain_s, backlog.drain_events_per_s,
    );
    let points = |of: fn(&EstimateSample) -> f64| {
        let estimates = backlog.estimates.iter();
        estimates.map(|one| (one.at_s, Some(of(one)))).collect()
    };
    let plot = Plot {
        title: "How long it will take, from each moment on",
        unit: "s",
        x_unit: "s since the workers were started",
        lines: vec![
            line("what the workers said", points(|one| one.backlog_seconds)),
            line("what it took", points(|one| one.took_s)),
        ],
        bands: &[],
        is_log: false,
    };
    page.push_str(&plot.svg());
}

/// The run over time.
pub(super) fn plots(page: &mut String, report: &Report) {
    let bands = bands(report);
    let rates = |of: fn(&Sample) -> u64| -> Vec<(f64, Option<f64>)> {
        let pairs = report.series.windows(2).map(|pair| {
            let (before, after) = (&pair[0], &pair[1]);
            let passed = after.t_s - before.t_s;
            let rate = (of(after) as f64 - of(before) as f64) / passed;
            (after.t_s, (passed > 0.0).then_some(rate))
        });
        pairs.collect()
    };
    let known = |name: &str, of: &dyn Fn(&Sample) -> Option<f64>| -> Option<Line> {
        let points = report.series.iter().map(|sample| (sample.t_s, of(sample)));
        let line = line(name, points.collect());
        line.points
            .iter()
            .any(|(_, value)| value.is_some())
            .then_some(line)
    };
    let by_role = |of: fn(&RoleSample) -> f64| -> Vec<Line> {
        let lines = Role::ALL
            .into_iter()
            .filter_map(|role| known(role.as_str(), &|sample| sample.usage.get(&role).map(of)));
        lines.collect()
    };
    let named = |lines: &[Named]| -> Vec<Line> {
        let lines = lines.iter().filter_map(|(name, of)| known(name, of));
        lines.collect()
    };
    let all = [
        (
            "Events a second",
            "events/s",
            vec![
                line("fired", rates(|sample| sample.fired)),
                line("sent", rates(|sample| sample.sent)),
                line("stored", rates(|sample| sample.stored)),
            ],
            false,
        ),
        (
            "Source time to stored, of the events stored in each second",
            "ms",
            named(&[
                ("p50", |sample| sample.p50_ms),
                ("p95", |sample| sample.p95_ms),
                ("p99", |sample| sample.p99_ms),
            ]),
            true,
        ),
        (
            "Waiting",
            "batches, events",
            named(&[
                ("batches in the queue", |sample| number(sample.queue_depth)),
                ("events in the spool", |sample| number(sample.spool_events)),
            ]),
            false,
        ),
        (
            "backlog_seconds",
            "s",
            named(&[("the largest of the workers'", |sample| {
                sample.backlog_seconds
            })]),
            false,
        ),
        (
            "Memory of the largest process",
            "MB",
            by_role(|usage| usage.rss_mb),
            false,
        ),
        (
            "Processors in use",
            "processors",
            by_role(|usage| usage.cpus),
            false,
        ),
    ];
    for (title, unit, lines, is_log) in all {
        let plot = Plot {
            title,
            unit,
            x_unit: "s since the first event",
            lines,
            bands: &bands,
            is_log,
        };
        page.push_str(&plot.svg());
    }
}

fn bands(report: &Report) -> Vec<Band> {
    let faults = report.faults.iter().map(|fault| Band {
        name: fault.fault.clone(),
        from: fault.at_s,
        to: fault.until_s,
    });
    let steps = report.extra.ramp.iter().flat_map(|ramp| &ramp.steps);
    let steps = steps.map(|step| Band {
        name: format!("{:.0}/s", step.rate),
        from: step.at_s,
        to: None,
    });
    faults.chain(steps).collect()
}

fn line(name: &str, points: Vec<(f64, Option<f64>)>) -> Line {
    Line {
        name: name.to_owned(),
        points,
    }
}
