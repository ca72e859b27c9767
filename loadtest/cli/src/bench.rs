//! `loadtest bench`: every run that the aims need, one after the other, and one table of what was
//! aimed at and what was measured.

mod aims;
mod runs;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use ha_settings::Problems;
use loadtest_report::Report;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use runs::{RUNS, Run};

/// Settings of `loadtest bench`, as given.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The reports of the runs are written here, and read for the table
    #[arg(long, default_value = "target/aims", value_name = "FOLDER")]
    folder: PathBuf,
    /// Short runs at low rates: whether all of it works; the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Only these runs, such as ramp,homes; memory (half an hour) is made only when asked for
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Make no runs: the table of the reports that are in the folder
    #[arg(long)]
    table: bool,
    /// Write the table here, too
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Settings of `loadtest bench`, checked.
#[derive(Debug)]
pub(crate) struct Bench {
    folder: PathBuf,
    quick: bool,
    runs: Vec<&'static Run>,
    output: Option<PathBuf>,
}

impl BenchArgs {
    /// Checks everything; `None` after a problem.
    pub(crate) fn resolve(self, problems: &mut Problems) -> Option<Bench> {
        let names: Vec<&str> = RUNS.iter().map(|run| run.name).collect();
        for name in &self.only {
            if !names.contains(&name.as_str()) {
                problems.bad("--only", name, names.join(", "));
            }
        }
        let wanted = |run: &&Run| match self.only.as_slice() {
            [] => !run.only_when_asked,
            only => only.iter().any(|name| name == run.name),
        };
        let runs = match self.table {
            true => Vec::new(),
            false => RUNS.iter().filter(wanted).collect(),
        };
        problems.is_empty().then_some(Bench {
            folder: self.folder,
            quick: self.quick,
            runs,
            output: self.output,
        })
    }
}

/// Makes the runs and prints the table. The exit code is about the runs: an aim that is not reached is
/// a figure, and a run that lost an event is a failure.
///
/// # Errors
/// When nothing can be started or written, or on Ctrl-C.
#[tokio::main]
pub(crate) async fn run(bench: Bench) -> anyhow::Result<ExitCode> {
    let interrupt = ha_telemetry::shutdown_token()?;
    std::fs::create_dir_all(&bench.folder)
        .with_context(|| format!("creating {}", bench.folder.display()))?;
    let mut good = true;
    for run in &bench.runs {
        let path = report_path(&bench.folder, run);
        // What is there is of another day.
        let _ = std::fs::remove_file(&path);
        let words = run.words(bench.quick);
        eprintln!("\nloadtest {words}");
        good &= make(&words, &path, &interrupt).await?;
    }
    let table = aims::table(bench.quick, |run| read(&report_path(&bench.folder, run)));
    if let Some(path) = &bench.output {
        std::fs::write(path, &table).with_context(|| format!("writing {}", path.display()))?;
    }
    print!("\n{table}");
    Ok(match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn report_path(folder: &Path, run: &Run) -> PathBuf {
    folder.join(format!("{}.json", run.name))
}

fn read(path: &Path) -> Option<Report> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// A process of its own for each: none inherits another's memory. Whether its verdict was good.
async fn make(words: &str, report: &Path, interrupt: &CancellationToken) -> anyhow::Result<bool> {
    let own = std::env::current_exe().context("finding this binary")?;
    let mut command = Command::new(own);
    command.args(words.split(' ')).arg("--json").arg(report);
    let mut child = command.spawn().context("starting a run")?;
    let pid = child.id();
    tokio::select! {
        status = child.wait() => Ok(status?.success()),
        () = interrupt.cancelled() => {
            // It stops what it has started.
            let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = child.wait().await;
            bail!("interrupted")
        }
    }
}
