//! The figures of a report, by name.

use crate::extra::{Backlog, BesideBare, Estimate};
use crate::latency::LatencyMs;
use crate::report::Report;

/// A name, where the figure stands in a report, and its digits behind the point.
pub(super) type Figure = (&'static str, fn(&Report) -> Option<f64>, usize);

/// Those of a report's own page.
pub(super) const FIGURES: [Figure; 19] = [
    ("events sent", events_sent, 0),
    ("stored", events_stored, 0),
    ("missing", missing, 0),
    ("duplicates", duplicates, 0),
    ("dead letters", dead_lettered, 0),
    (
        "settled batches again",
        |report| number(report.redelivered_settled),
        0,
    ),
    ("events/s", |report| Some(report.events_per_s), 0),
    ("bare chain, events/s", bare, 0),
    ("bare chain with any delay, events/s", bare_unbounded, 0),
    ("of the bare chain", ratio, 2),
    ("p50 ms", |report| latency(report, |ms| ms.p50), 1),
    ("p95 ms", |report| latency(report, |ms| ms.p95), 1),
    ("p99 ms", |report| latency(report, |ms| ms.p99), 1),
    ("max ms", |report| latency(report, |ms| ms.max), 1),
    ("recovery s", |report| report.recovery_s, 1),
    ("drain s", |report| Some(report.drain_s), 2),
    ("batches queued at most", queue_depth, 0),
    (
        "backlog_seconds to what it took, median",
        |report| estimate(report, |estimate| estimate.median),
        2,
    ),
    (
        "the same, worst",
        |report| estimate(report, |estimate| estimate.worst),
        2,
    ),
];

pub(super) fn number(count: Option<u64>) -> Option<f64> {
    count.map(|count| count as f64)
}

pub(super) fn events_sent(report: &Report) -> Option<f64> {
    number(Some(report.events_sent))
}

pub(super) fn events_stored(report: &Report) -> Option<f64> {
    number(report.events_stored)
}

pub(super) fn missing(report: &Report) -> Option<f64> {
    number(report.missing)
}

pub(super) fn duplicates(report: &Report) -> Option<f64> {
    number(report.duplicates)
}

pub(super) fn dead_lettered(report: &Report) -> Option<f64> {
    number(report.dead_lettered)
}

pub(super) fn queue_depth(report: &Report) -> Option<f64> {
    number(report.queue_depth_max)
}

pub(super) fn latency(report: &Report, of: fn(LatencyMs) -> f64) -> Option<f64> {
    report.latency_ms.map(of)
}

pub(super) fn bare(report: &Report) -> Option<f64> {
    beside_bare(report)?.bare_events_per_s
}

pub(super) fn bare_unbounded(report: &Report) -> Option<f64> {
    beside_bare(report)?.bare_unbounded_events_per_s
}

pub(super) fn ratio(report: &Report) -> Option<f64> {
    beside_bare(report)?.ratio
}

fn beside_bare(report: &Report) -> Option<&BesideBare> {
    report.extra.beside_bare.as_ref()
}

pub(super) fn backlog(report: &Report, of: fn(&Backlog) -> f64) -> Option<f64> {
    report.extra.backlog.as_ref().map(of)
}

pub(super) fn estimate(report: &Report, of: fn(&Estimate) -> f64) -> Option<f64> {
    report.extra.backlog.as_ref()?.estimate.as_ref().map(of)
}
