//! From a harness to the parts of a report that every scenario has.

use loadtest_report::{ProcessUsage, Report, Role, Verdict, rounded};

use crate::harness::Harness;
use crate::plan::Plan;
use crate::series::rss_ratio;
use crate::usage::RoleUsage;

/// The report of a run in which nothing has happened yet.
#[must_use]
pub fn empty(scenario: &str, plan: &Plan) -> Report {
    Report {
        scenario: scenario.to_owned(),
        mode: plan.mode.as_str().to_owned(),
        verdict: Verdict::Pass,
        rate: plan.rate,
        workers: plan.workers_started(),
        homes: plan.homes,
        sink: plan.sink.as_str().to_owned(),
        ..Report::default()
    }
}

/// Adds what was measured beside: the run over time, starts, the use of the machine.
pub fn add_measured(report: &mut Report, harness: &Harness) {
    let of = |role| harness.usage().of(role);
    report.series = harness.series();
    let process = |role| {
        let usage: ProcessUsage = process_usage(of(role)?);
        let rss_ratio = rss_ratio(&report.series, role);
        Some(ProcessUsage { rss_ratio, ..usage })
    };
    (report.producer, report.worker) = (process(Role::Producer), process(Role::Worker));
    report.loadtest = process(Role::LoadTester);
    report.load_s = harness.usage().load_s().map(rounded);
    report.load_events = harness.usage().load_events();
    report.starts = harness.starts().to_vec();
    let cpu_s = |role| of(role).map(|usage| rounded(usage.cpu_s));
    let cpu_s_load = |role| of(role).map(|usage| rounded(usage.cpu_s_load));
    let rss_mb_max = |role| of(role).map(|usage| rounded(usage.rss_mb_max));
    let (broker, database) = (Role::Broker, Role::Database);
    (report.broker_cpu_s, report.database_cpu_s) = (cpu_s(broker), cpu_s(database));
    (report.broker_cpu_s_load, report.database_cpu_s_load) =
        (cpu_s_load(broker), cpu_s_load(database));
    (report.broker_rss_mb_max, report.database_rss_mb_max) =
        (rss_mb_max(broker), rss_mb_max(database));
}

fn process_usage(usage: RoleUsage) -> ProcessUsage {
    ProcessUsage {
        cpu_s: rounded(usage.cpu_s),
        cpu_s_load: Some(rounded(usage.cpu_s_load)),
        rss_mb_max: rounded(usage.rss_mb_max),
        rss_ratio: None,
    }
}
