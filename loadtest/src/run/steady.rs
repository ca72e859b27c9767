//! `loadtest run steady`: one rate for some time, with restarts on request.

use anyhow::bail;
use tokio_util::sync::CancellationToken;

use super::drive::drive;
use super::harness::Harness;
use super::report::{Report, Verdict};
use super::settings::Plan;
use super::verdict::report;
use crate::progress::Progress;

/// Runs the scenario from the start of the services to the report.
///
/// # Errors
/// When something cannot be started or read, or `interrupt` was cancelled; everything that was
/// started is stopped then.
pub async fn run(
    plan: Plan,
    progress: &Progress,
    interrupt: &CancellationToken,
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
        report = report("steady", &harness, drive, exits, progress) => report?,
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
