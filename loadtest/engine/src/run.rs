//! One run from the start of the services to the report: what all scenarios have in common that
//! drive one system and compare at the end what was sent with what is stored.

use anyhow::bail;
use loadtest_report::{Report, Verdict};
use tokio_util::sync::CancellationToken;

use crate::drive::Drive;
use crate::harness::Harness;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::verdict;

/// Starts the system, lets `drive` drive it, stops it, compares.
///
/// # Errors
/// When something cannot be started or read, or `interrupt` was cancelled; everything that was
/// started is stopped then.
pub async fn run(
    scenario: &'static str,
    plan: Plan,
    progress: &Progress,
    interrupt: &CancellationToken,
    drive: impl AsyncFnOnce(&mut Harness, &Progress) -> anyhow::Result<Drive>,
) -> anyhow::Result<Report> {
    let starting = Box::pin(Harness::start(plan, |step| progress.step(step)));
    let mut harness = tokio::select! {
        harness = starting => harness?,
        () = interrupt.cancelled() => bail!("interrupted"),
    };
    let driven = tokio::select! {
        driven = drive(&mut harness, progress) => driven,
        () = interrupt.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    harness.end_load();
    // In good order, whatever happened before.
    let exits = harness.stop().await;
    let drive = match driven {
        Ok(drive) => drive,
        Err(error) => {
            harness.keep_folder();
            return Err(error.context(format!("logs are in {}", harness.folder().display())));
        }
    };
    let report = tokio::select! {
        report = verdict::report(scenario, &harness, drive, exits, progress) => report?,
        () = interrupt.cancelled() => bail!("interrupted"),
    };
    Ok(keep_logs_of_a_failure(&mut harness, report))
}

fn keep_logs_of_a_failure(harness: &mut Harness, mut report: Report) -> Report {
    if report.verdict == Verdict::Fail && harness.plan().logs.is_none() {
        harness.keep_folder();
        report
            .notes
            .push(format!("logs are in {}", harness.folder().display()));
    }
    report
}
