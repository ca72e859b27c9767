//! Tables for people, of what only one scenario has.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::extra::{Backlog, CpuPerMillion, Estimate, Extra, Growth, Step};
use crate::process::Start;
use crate::report::{ProcessUsage, Report, RoleFigures, Verdict};
use crate::role::Role;

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
            let role = format!("  {}", role.as_str());
            let _ = writeln!(text, "{role:<16} {}", usage.words(case));
        }
        if !case.starts.is_empty() {
            let _ = writeln!(text, "{:<16} {}", "  ready after", starts(&case.starts));
        }
        text.push_str(&extra(&case.extra));
    }
    if let Some(growth) = &report.extra.growth {
        grown(&mut text, growth);
    }
    text
}

fn grown(text: &mut String, growth: &BTreeMap<Role, Growth>) {
    text.push_str("\nCPU s per million events, at the first rate and at the second\n");
    for (role, row) in growth {
        let [less, more] = row.cpu_s_per_million;
        let ratio = row.ratio;
        let _ = writeln!(
            text,
            "{:<16} {less:.1} and {more:.1}, ratio {}",
            format!("  {}", role.as_str()),
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        );
    }
}

impl ProcessUsage {
    /// In words: in the load's own time where that is known.
    pub(super) fn words(&self, report: &Report) -> String {
        let of = |cpu_s: f64, events: u64| cpu_s * 1e6 / events.max(1) as f64;
        let of_load = report.load_events.unwrap_or(report.events_sent);
        let mut text = match report.load_s.zip(self.cpu_s_load) {
            Some((load_s, cpu_s_load)) => format!(
                "{cpu_s_load:.2} s CPU under load ({:.1} s per million events, {:.1} % of a core), \
                 {:.2} s with the end",
                of(cpu_s_load, of_load),
                cpu_s_load * 100.0 / load_s.max(1e-3),
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
    /// What each role has used of which that is known.
    pub fn used(&self) -> impl Iterator<Item = (Role, ProcessUsage)> {
        Role::ALL.into_iter().filter_map(|role| {
            let RoleFigures {
                cpu_s,
                cpu_s_load,
                rss_mb_max,
                rss_ratio,
            } = self.role(role);
            let usage = ProcessUsage {
                cpu_s: cpu_s?,
                cpu_s_load,
                rss_mb_max: rss_mb_max?,
                rss_ratio,
            };
            Some((role, usage))
        })
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
pub(super) fn extra(extra: &Extra) -> String {
    let mut text = String::new();
    if let Some(backlog) = &extra.backlog {
        drained(&mut text, backlog);
    }
    if let Some(ramp) = &extra.ramp {
        stepped(&mut text, &ramp.steps);
    }
    beside_bare(&mut text, extra);
    text
}

fn drained(text: &mut String, backlog: &Backlog) {
    let _ = writeln!(
        text,
        "{:<16} {} events in {:.2} s from the start of the workers ({:.0}/s); ready after {:.2} s",
        "  drain", backlog.events, backlog.drain_s, backlog.drain_events_per_s, backlog.ready_s,
    );
    cost(text, &backlog.cpu_s_per_million);
    if let Some(Estimate { median, worst, .. }) = &backlog.estimate {
        let name = "  backlog";
        let _ = writeln!(
            text,
            "{name:<16} said to took: median {median:.2}, worst {worst:.2}",
        );
    }
    for sample in &backlog.estimates {
        let _ = writeln!(
            text,
            "{:<16} at {:.1} s: {} batches waited, said {:.1} s, took {:.1} s",
            "  backlog", sample.at_s, sample.queue_depth, sample.backlog_seconds, sample.took_s,
        );
    }
}

/// Processor seconds in a million events.
fn cost(text: &mut String, by_role: &CpuPerMillion) {
    let used = by_role.iter();
    let used: Vec<String> = used
        .map(|(role, used)| format!("{} {used:.1}", role.as_str()))
        .collect();
    let _ = writeln!(
        text,
        "{:<16} {} s CPU per million events",
        "  cost",
        used.join(", ")
    );
}

fn stepped(text: &mut String, steps: &[Step]) {
    for step in steps {
        let verdict = match step.reasons.is_empty() {
            true => "holds".to_owned(),
            false => format!("does not hold: {}", step.reasons.join(", ")),
        };
        let latency = step.latency_ms.unwrap_or_default();
        let _ = writeln!(
            text,
            "{:<16} {:.0}/s: p50 {:.1} ms, p99 {:.1} ms, {verdict}",
            "step", step.rate, latency.p50, latency.p99,
        );
    }
}

fn beside_bare(text: &mut String, extra: &Extra) {
    let (ramp, beside) = (extra.ramp.as_ref(), extra.beside_bare.as_ref());
    if let Some(held) = ramp.and_then(|ramp| ramp.held_events_per_s) {
        let _ = writeln!(text, "{:<16} {held:.0} events/s", "held");
    }
    if let Some(beside) = beside {
        if let Some(bare) = beside.bare_events_per_s {
            let _ = writeln!(text, "{:<16} {bare:.0} events/s", "bare chain");
        }
        if let Some(by_role) = &beside.bare.cpu_s_per_million {
            cost(text, by_role);
        }
        if let Some(bare) = beside.bare_unbounded_events_per_s {
            let _ = writeln!(text, "{:<16} {bare:.0} events/s, with any delay", "");
        }
        if let Some(ratio) = beside.ratio {
            let _ = writeln!(text, "{:<16} {ratio:.2} of the bare chain", "ratio");
        }
    }
    if let Some(ramp) = ramp {
        let _ = writeln!(text, "{:<16} {}", "criterion", ramp.criterion);
    }
}
