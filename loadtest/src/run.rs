//! `loadtest run SCENARIO`: start what is needed, drive it, stop it, compare, report.

pub mod audit;
mod backend;
pub mod database;
pub mod drive;
pub mod harness;
mod latency;
pub mod process;
mod queues;
pub mod report;
pub mod settings;
mod simulated_home;
pub mod steady;
mod usage;
pub mod verdict;

use std::io::Write as _;

use anyhow::Context as _;

pub use report::{Report, Verdict};
pub use settings::{Plan, RunArgs};

use crate::progress::Progress;

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
    let json = serde_json::to_string_pretty(&report)? + "\n";
    match output.json.as_deref() {
        Some("-") => std::io::stdout().write_all(json.as_bytes())?,
        Some(path) => {
            std::fs::write(path, json).with_context(|| format!("writing {path}"))?;
            print!("{report}");
        }
        None => print!("{report}"),
    }
    Ok(report.verdict)
}
