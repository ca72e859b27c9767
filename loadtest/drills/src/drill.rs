//! `loadtest run drill`: one fault while events flow, and afterwards every event is looked for.
//!
//! The judge is the simulated home's ledger. In a drill every event that was fired counts, sent or
//! not: what the producer could not hear, Home Assistant's history has, so gap fill must bring it.
//! An event that is not stored is missing, unless a dead letter is about it, which is read.
//!
//! Recovery is measured by polling the database, the broker's queue and the producer's spool a
//! few times a second: from the end of the fault (everything that was stopped answers again) to the
//! first sample that finds every event stored that was fired half a second before it or earlier,
//! those of the fault among them, and queue and spool empty.

mod context;
mod fault;
mod faults;
mod inject;
mod not_possible;
mod observe;
mod plan;
mod settings;
mod timeline;
mod tmpfs;
mod verdict;

use anyhow::bail;
use loadtest_engine::harness::Harness;
use loadtest_engine::progress::Progress;
use loadtest_report::{Report, Verdict};
use tokio_util::sync::CancellationToken;

pub use fault::FaultName;
pub(crate) use plan::Planned;
pub use plan::{DrillPlan, Drills};
pub use settings::DrillArgs;
pub(crate) use settings::pointless;

use context::Prepared;
use not_possible::NotPossible;

/// [`run`], and where the drill cannot be made here, a report that says why.
///
/// # Errors
/// As for [`run`].
pub async fn run_or_say_why(
    plan: DrillPlan,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Report> {
    if let Some(reason) = &plan.pointless {
        return Ok(verdict::not_possible(&plan, reason));
    }
    let said = plan.clone();
    match Box::pin(run(plan, progress, interrupt)).await {
        Err(error) => match error.downcast::<NotPossible>() {
            Ok(NotPossible(reason)) => Ok(verdict::not_possible(&said, &reason)),
            Err(error) => Err(error),
        },
        report => report,
    }
}

/// Runs one drill (or a schedule of faults) from the start of the services to the report.
///
/// # Errors
/// When something cannot be started or read, the fault cannot be made here, or `interrupt` was
/// cancelled; everything that was started is stopped then.
pub async fn run(
    plan: DrillPlan,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Report> {
    let DrillPlan { run, schedule, .. } = &plan;
    let starting = Box::pin(Harness::start(run.clone(), |step| progress.step(step)));
    let mut harness = tokio::select! {
        harness = starting => harness?,
        () = interrupt.cancelled() => bail!("interrupted"),
    };
    let prepared = match schedule.as_slice() {
        [only] => inject::prepare(&harness, only.fault).await?,
        _ => Prepared::default(),
    };
    let driven = tokio::select! {
        driven = timeline::drive(&mut harness, &plan, &prepared, progress) => driven,
        () = interrupt.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    harness.end_load();
    // In good order, whatever happened before.
    let exits = harness.stop().await;
    let driven = match driven {
        Ok(driven) => driven,
        Err(error) if error.is::<NotPossible>() => return Err(error),
        Err(error) => {
            harness.keep_folder();
            return Err(error.context(format!("logs are in {}", harness.folder().display())));
        }
    };
    let mut report = tokio::select! {
        report = verdict::report(&plan, &harness, driven, exits, progress) => report?,
        () = interrupt.cancelled() => bail!("interrupted"),
    };
    if report.verdict == Verdict::Fail && harness.plan().logs.is_none() {
        harness.keep_folder();
        let folder = harness.folder().display().to_string();
        report.notes.push(format!("logs are in {folder}"));
    }
    drop(prepared);
    Ok(report)
}
