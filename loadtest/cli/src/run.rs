//! `loadtest run SCENARIO`: runs it and writes its report.

use std::process::ExitCode;

use anyhow::Context as _;
use loadtest_drills::drill::{self, DrillPlan, Drills};
use loadtest_engine::plan::Plan;
use loadtest_engine::progress::Progress;
use loadtest_engine::scenario::backlog::{self, Backlogs};
use loadtest_engine::scenario::ramp::{self, Ramp};
use loadtest_engine::scenario::{growth, modes, steady};
use loadtest_report::{Output, Report, Verdict};
use tokio_util::sync::CancellationToken;

/// Exit code of a drill that cannot be made here.
const NOT_POSSIBLE_CODE: u8 = 3;

/// What is to be run.
#[derive(Debug)]
pub(crate) enum Job {
    /// One system, one load; with the scenario's name.
    Steady(&'static str, Box<Plan>),
    /// Faults of a scenario that is no drill.
    Disturbed(Box<DrillPlan>),
    Backlog(Backlogs),
    Modes(Vec<Plan>),
    Growth(Vec<Plan>),
    Ramp(Box<Ramp>),
}

impl Job {
    async fn run(
        self,
        progress: &Progress,
        interrupt: &CancellationToken,
    ) -> anyhow::Result<Report> {
        match self {
            Self::Steady(scenario, plan) => {
                Box::pin(steady::run(scenario, *plan, progress, interrupt)).await
            }
            Self::Disturbed(plan) => {
                Box::pin(drill::run_or_say_why(*plan, progress, interrupt)).await
            }
            Self::Backlog(backlog) => Box::pin(backlog::run(backlog, progress, interrupt)).await,
            Self::Modes(plans) => Box::pin(modes::run(plans, progress, interrupt)).await,
            Self::Growth(plans) => Box::pin(growth::run(plans, progress, interrupt)).await,
            Self::Ramp(ramp) => Box::pin(ramp::run(*ramp, progress, interrupt)).await,
        }
    }
}

/// Runs the scenario and writes its report. Ctrl-C and SIGTERM stop everything that was started.
#[tokio::main]
pub(crate) async fn command(job: Job, output: &Output) -> anyhow::Result<ExitCode> {
    let interrupt = ha_telemetry::shutdown_token()?;
    let progress = Progress::new();
    let result = job.run(&progress, &interrupt).await;
    progress.finish();
    let report = result?;
    report.write(output)?;
    Ok(match report.verdict {
        Verdict::Pass => ExitCode::SUCCESS,
        Verdict::Fail => ExitCode::FAILURE,
        Verdict::NotPossible => ExitCode::from(NOT_POSSIBLE_CODE),
    })
}

/// Runs drills one after the other and writes their reports.
#[tokio::main]
pub(crate) async fn drills(drills: Drills) -> anyhow::Result<ExitCode> {
    let interrupt = ha_telemetry::shutdown_token()?;
    let progress = Progress::new();
    if let Some(folder) = &drills.folder {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
    }
    let (mut failed, mut not_possible) = (false, false);
    let several = drills.plans.len() > 1;
    for plan in drills.plans {
        let name = plan.file_name();
        let report = Box::pin(drill::run_or_say_why(plan, &progress, &interrupt)).await;
        let report = match report {
            Ok(report) => report,
            Err(error) if several && !interrupt.is_cancelled() => {
                progress.step(&format!("{name}: {error:#}"));
                failed = true;
                continue;
            }
            Err(error) => {
                progress.finish();
                return Err(error);
            }
        };
        failed |= report.verdict == Verdict::Fail;
        not_possible |= report.verdict == Verdict::NotPossible;
        match &drills.folder {
            Some(folder) => report.write(&Output {
                json: Some(folder.join(&name).display().to_string()),
                html: None,
            })?,
            None => report.write(&drills.output)?,
        }
    }
    progress.finish();
    Ok(match (failed, not_possible) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(NOT_POSSIBLE_CODE),
        (false, false) => ExitCode::SUCCESS,
    })
}
