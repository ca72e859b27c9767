//! `loadtest run steady`: one rate for some time, with restarts on request. `homes` and `replay` are
//! the same with several homes, and with a capture at its own pace.

use loadtest_report::Report;
use tokio_util::sync::CancellationToken;

use crate::drive::drive;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run;

/// Runs the scenario from the start of the services to the report.
///
/// # Errors
/// When something cannot be started or read, or `interrupt` was cancelled; everything that was
/// started is stopped then.
pub async fn run(
    scenario: &'static str,
    plan: Plan,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Report> {
    let drive = async |harness: &mut _, progress: &_| drive(harness, progress).await;
    Box::pin(run::run(scenario, plan, progress, interrupt, drive)).await
}
