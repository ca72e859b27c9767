//! `loadtest run SCENARIO`: start what is needed, drive it, stop it, compare, report.

pub(crate) mod alerts;
pub mod audit;
mod backend;
mod cluster;
pub mod database;
pub mod drill;
pub mod drive;
pub mod harness;
mod http_front;
mod latency;
mod letters;
pub mod process;
pub mod proxy;
mod queues;
pub mod report;
pub mod rig;
pub mod settings;
mod simulated_home;
pub mod soak;
pub mod steady;
mod usage;
pub mod verdict;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use drill::Drills;
pub use report::{Report, Verdict};
pub use settings::{Plan, RunArgs};

use crate::progress::Progress;

/// Exit code of a drill that cannot be made here.
const NOT_POSSIBLE_CODE: u8 = 3;

/// Where the report goes.
#[derive(Debug, Clone)]
pub struct Output {
    /// File of the JSON report; `-` is standard output, which then holds nothing else.
    pub json: Option<String>,
}

/// Runs the scenario and writes its report. Ctrl-C and SIGTERM stop everything that was started.
#[tokio::main]
pub(crate) async fn command(plan: Plan, output: &Output) -> anyhow::Result<Verdict> {
    let interrupt = ha_telemetry::shutdown_token()?;
    let progress = Progress::new();
    let result = Box::pin(steady::run(plan, &progress, &interrupt)).await;
    progress.finish();
    let report = result?;
    report.write(output.json.as_deref())?;
    Ok(report.verdict)
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
        let file = drills.folder.as_ref().map(|folder| folder.join(&name));
        match file {
            Some(file) => report.write(Some(&file.display().to_string()))?,
            None => report.write(drills.json.as_deref())?,
        }
    }
    progress.finish();
    Ok(match (failed, not_possible) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(NOT_POSSIBLE_CODE),
        (false, false) => ExitCode::SUCCESS,
    })
}

impl Report {
    /// To a file and, as a table, to standard output; `-` is the JSON to standard output alone.
    fn write(&self, json_file: Option<&str>) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        match json_file {
            Some("-") => std::io::stdout().write_all(json.as_bytes())?,
            Some(path) => {
                std::fs::write(path, json).with_context(|| format!("writing {path}"))?;
                print!("{self}");
            }
            None => print!("{self}"),
        }
        Ok(())
    }
}
