//! `loadtest report`: pages and tables made of reports.

mod bench;
mod compare;
mod figures;
pub(crate) mod html;
mod markup;
mod plot;
mod reliability;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use ha_settings::Problems;

use crate::report::Report;

/// Settings of `loadtest report`, as given.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// A folder with one JSON report a drill, as `run drill --folder` writes them, for the
    /// reliability page; or one JSON report, for --html
    #[arg(value_name = "FOLDER|FILE")]
    path: Option<PathBuf>,
    /// Write the reliability page or the table here; unset: standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write one HTML page of the report, with plots; it needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Two JSON reports side by side, with the ratio of each figure (second to first)
    #[arg(long, num_args = 2, value_names = ["FILE", "FILE"])]
    compare: Vec<PathBuf>,
    /// One table of what `cargo bench` has left in this folder (target/criterion)
    #[arg(long, value_name = "FOLDER")]
    bench: Option<PathBuf>,
}

/// The page or table to make.
#[derive(Debug)]
pub struct PageTask(Task);

#[derive(Debug)]
enum Task {
    Reliability {
        folder: PathBuf,
        output: Option<PathBuf>,
    },
    Html {
        report: PathBuf,
        html: PathBuf,
    },
    Compare {
        before: PathBuf,
        after: PathBuf,
        output: Option<PathBuf>,
    },
    Bench {
        folder: PathBuf,
        output: Option<PathBuf>,
    },
}

impl PageArgs {
    /// Checks everything; `None` after a problem.
    pub fn resolve(self, problems: &mut Problems) -> Option<PageTask> {
        let Self {
            path,
            output,
            html,
            compare,
            bench,
        } = self;
        let mut compare = compare.into_iter();
        let task = match (path, html, (compare.next(), compare.next()), bench) {
            (None, None, (Some(before), Some(after)), None) => Some(Task::Compare {
                before,
                after,
                output,
            }),
            (Some(report), Some(html), (None, None), None) if output.is_none() => {
                Some(Task::Html { report, html })
            }
            (Some(folder), None, (None, None), None) => Some(Task::Reliability { folder, output }),
            (None, None, (None, None), Some(folder)) => Some(Task::Bench { folder, output }),
            _ => {
                problems.other(
                    "give FOLDER [--output FILE], or FILE --html FILE, or --compare FILE FILE \
                     [--output FILE], or --bench FOLDER [--output FILE]",
                );
                None
            }
        };
        task.map(PageTask)
    }
}

/// Makes the page or the table; `faults` are the names of all drills in the order of the reference.
///
/// # Errors
/// When a report cannot be read, or the page not be written.
pub fn run(PageTask(task): PageTask, faults: &[&str]) -> anyhow::Result<ExitCode> {
    let (text, output) = match task {
        Task::Reliability { folder, output } => {
            if folder.is_file() {
                bail!(
                    "{} is a file; for the page of one report give --html FILE too",
                    folder.display()
                );
            }
            (reliability::of_folder(&folder, faults)?, output)
        }
        Task::Bench { folder, output } => (bench::table(&folder)?, output),
        Task::Html { report, html } => (html::page(&read(&report)?), Some(html)),
        Task::Compare {
            before,
            after,
            output,
        } => {
            let table = compare::table(&read(&before)?, &read(&after)?);
            (table, output)
        }
    };
    match output {
        Some(path) => {
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        None => print!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// One report.
fn read(path: &Path) -> anyhow::Result<Report> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let is_no_report = || format!("{} is not a report of `loadtest run`", path.display());
    let report: Report = serde_json::from_str(&text).with_context(is_no_report)?;
    ensure!(!report.scenario.is_empty(), "{}", is_no_report());
    Ok(report)
}
