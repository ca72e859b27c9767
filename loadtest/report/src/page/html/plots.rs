//! Plots of a report's page.

use std::fmt::Write as _;

use serde_json::Value;

use crate::page::markup::{ROLES, figure, text};
use crate::page::plot::{Band, Line, Plot};

pub(super) fn backlog(page: &mut String, backlog: &Value) {
    let estimates = backlog["estimates"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if !backlog.is_object() {
        return;
    }
    let number = |name: &str| backlog[name].as_f64();
    let _ = writeln!(
        page,
        "<p>{} events in {} s from the start of the workers, {} events/s.</p>",
        figure(number("events"), 0),
        figure(number("drain_s"), 2),
        figure(number("drain_events_per_s"), 0)
    );
    let points = |name: &str| -> Vec<(f64, Option<f64>)> {
        let at = |estimate: &Value| estimate["at_s"].as_f64().unwrap_or_default();
        let estimates = estimates.iter();
        estimates.map(|one| (at(one), one[name].as_f64())).collect()
    };
    let lines = [
        ("backlog_seconds", "what the workers said"),
        ("took_s", "what it took"),
    ];
    let plot = Plot {
        title: "How long it will take, from each moment on",
        unit: "s",
        x_unit: "s since the workers were started",
        lines: lines.map(|(name, words)| line(words, points(name))).into(),
        bands: &[],
        is_log: false,
    };
    page.push_str(&plot.svg());
}

/// The run over time.
pub(super) fn plots(page: &mut String, report: &Value) {
    let series = report["series"].as_array().map_or(&[][..], Vec::as_slice);
    let bands = bands(report);
    let at = |sample: &Value| sample["t_s"].as_f64().unwrap_or_default();
    let values = |path: &str| -> Vec<(f64, Option<f64>)> {
        let of = |sample: &Value| sample.pointer(path).and_then(Value::as_f64);
        series
            .iter()
            .map(|sample| (at(sample), of(sample)))
            .collect()
    };
    let rates = |path: &str| -> Vec<(f64, Option<f64>)> {
        let counts = values(path);
        let pairs = counts.windows(2).map(|pair| {
            let (before, after) = (pair[0], pair[1]);
            let passed = after.0 - before.0;
            let rate = after.1.zip(before.1).filter(|_| passed > 0.0);
            (
                after.0,
                rate.map(|(after, before)| (after - before) / passed),
            )
        });
        pairs.collect()
    };
    let by_role = |name: &str| -> Vec<Line> {
        let lines = ROLES.map(|role| line(role, values(&format!("/usage/{role}/{name}"))));
        let known = lines.into_iter();
        known
            .filter(|line| line.points.iter().any(|(_, value)| value.is_some()))
            .collect()
    };
    let named = |lines: &[(&str, &str)]| -> Vec<Line> {
        let lines = lines.iter().map(|(path, words)| line(words, values(path)));
        lines
            .filter(|line| line.points.iter().any(|(_, value)| value.is_some()))
            .collect()
    };
    let all = [
        (
            "Events a second",
            "events/s",
            vec![
                line("fired", rates("/fired")),
                line("sent", rates("/sent")),
                line("stored", rates("/stored")),
            ],
            false,
        ),
        (
            "Source time to stored, of the events stored in each second",
            "ms",
            named(&[("/p50_ms", "p50"), ("/p95_ms", "p95"), ("/p99_ms", "p99")]),
            true,
        ),
        (
            "Waiting",
            "batches, events",
            named(&[
                ("/queue_depth", "batches in the queue"),
                ("/spool_events", "events in the spool"),
            ]),
            false,
        ),
        (
            "backlog_seconds",
            "s",
            named(&[("/backlog_seconds", "the largest of the workers'")]),
            false,
        ),
        (
            "Memory of the largest process",
            "MB",
            by_role("rss_mb"),
            false,
        ),
        ("Processors in use", "processors", by_role("cpus"), false),
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

fn bands(report: &Value) -> Vec<Band> {
    let faults = report["faults"].as_array().into_iter().flatten();
    let mut bands: Vec<Band> = faults
        .map(|fault| Band {
            name: text(fault, "fault"),
            from: fault["at_s"].as_f64().unwrap_or_default(),
            to: fault["until_s"].as_f64(),
        })
        .collect();
    for step in report["steps"].as_array().into_iter().flatten() {
        bands.push(Band {
            name: format!("{}/s", figure(step["rate"].as_f64(), 0)),
            from: step["at_s"].as_f64().unwrap_or_default(),
            to: None,
        });
    }
    bands
}

fn line(name: &str, points: Vec<(f64, Option<f64>)>) -> Line {
    Line {
        name: name.to_owned(),
        points,
    }
}
