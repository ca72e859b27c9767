//! `loadtest run steady`: one rate for some time, with restarts on request. `homes` and `replay` are
//! the same with several homes, and with a capture at its own pace.

use tokio_util::sync::CancellationToken;

use super::conduct::conduct;
use super::drive::drive;
use super::report::Report;
use super::settings::Plan;
use crate::progress::Progress;

/// Runs the scenario from the start of the services to the report.
///
/// # Errors
/// When something cannot be started or read, or `interrupt` was cancelled; everything that was
/// started is stopped then.
pub(super) async fn run(
    scenario: &'static str,
    plan: Plan,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Report> {
    let drive = async |harness: &mut _, progress: &_| drive(harness, progress).await;
    Box::pin(conduct(scenario, plan, progress, interrupt, drive)).await
}
