//! `loadtest run modes`: the same load through all four modes, one after the other: what each costs
//! and how long it takes.

use std::time::Duration;

use clap::Args;
use ha_settings::Problems;
use loadtest_report::{ModeRow, Output, Report, rounded};
use tokio_util::sync::CancellationToken;

use crate::plan::{Mode, Plan};
use crate::progress::Progress;
use crate::scenario::cases::one_by_one;
use crate::scenario::steady;
use crate::settings::{Defaults, RunArgs};

/// Settings of `loadtest run modes`, as given.
#[derive(Debug, Args)]
pub struct ModesArgs {
    #[command(flatten)]
    run: RunArgs,
}

impl ModesArgs {
    /// Checks everything; `None` after a problem. One plan for each mode, and where the
    /// report goes.
    pub fn resolve(mut self, problems: &mut Problems) -> Option<(Vec<Plan>, Output)> {
        let defaults = Defaults {
            workers: "2",
            rate: "1000",
            duration: Duration::from_secs(30),
            drain: "120",
        };
        let mut plans = Vec::new();
        for mode in Mode::ALL {
            self.run.mode = mode.as_str().to_owned();
            let plan = self.run.resolve_alone(problems, "`modes`", &defaults);
            // What is wrong with one is wrong with all.
            plans.push(plan.filter(|_| problems.is_empty())?);
        }
        Some((plans, self.run.output()))
    }
}

/// Makes all runs, one after the other.
///
/// # Errors
/// When something cannot be started or read, or `interrupt` was cancelled.
pub async fn run(
    plans: Vec<Plan>,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Report> {
    let cases = plans
        .into_iter()
        .map(|plan| (plan.mode.as_str().to_owned(), plan));
    let mut report = one_by_one(cases, async |mode, plan| {
        progress.step(&format!("mode {mode}"));
        Box::pin(steady::run("modes", plan, progress, interrupt)).await
    })
    .await?;
    report.extra.matrix = Some(report.cases.iter().map(row).collect());
    Ok(report)
}

/// What a decision between modes is made by.
fn row(report: &Report) -> ModeRow {
    let per_million = |cpu_s: f64| rounded(cpu_s * 1e6 / report.events_sent.max(1) as f64);
    let product: f64 = [report.producer, report.worker]
        .into_iter()
        .flatten()
        .map(|usage| usage.cpu_s)
        .sum();
    let services: f64 = [report.broker_cpu_s, report.database_cpu_s]
        .into_iter()
        .flatten()
        .sum();
    ModeRow {
        mode: report.mode.clone(),
        latency_ms: report.latency_ms,
        product_cpu_s_per_million: per_million(product),
        services_cpu_s_per_million: per_million(services),
        producer_rss_mb_max: report.producer.map(|usage| usage.rss_mb_max),
        worker_rss_mb_max: report.worker.map(|usage| usage.rss_mb_max),
        stored: report.events_stored,
        missing: report.missing,
        duplicates: report.duplicates,
    }
}
