//! The dead-letter workbench: what could not be stored, looked at and dealt with.
//!
//! Dead letters are read one after the other and never held together, so that memory does not grow with
//! their number; they stay with their store until they are taken. Whatever is done to a dead letter
//! happens first and is safe before the dead letter is taken: a workbench that is killed leaves dead letters
//! that were already dealt with, and never loses one.

mod args;
mod dead_letter;
mod export;
mod limit;
mod list;
mod progress;
mod replay;
mod show;
mod store;
mod today;

use clap::Subcommand;
use ha_enrich::{Depth, Options};
use ha_settings::{AttributeArgs, Problems};
use std::future::Future;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) use args::{StoreArgs, StorePlace};
pub(crate) use limit::{DeliveryLimit, delivery_limit};
pub(crate) use store::Store;

use args::{DeadLetterFilter, FilterArgs};

/// The workbench's commands.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List the dead letters, oldest first; reading changes nothing
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// One line for all dead letters that failed for the same cause
        #[arg(long)]
        group: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: Box<StoreArgs>,
    },
    /// Show one dead letter, its event, and what today's code makes of it
    Show {
        /// Its id, or the last 8 characters of it or more
        #[arg(value_name = "ID")]
        id: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        attributes: AttributeArgs,
        #[command(flatten)]
        store: Box<StoreArgs>,
    },
    /// Send dead letters on their way again: published and confirmed, then taken. One that fails again
    /// comes back with x-ha-replays one higher
    Replay {
        #[command(flatten)]
        filter: FilterArgs,
        /// Dead letters a second at most
        #[arg(long, value_name = "COUNT")]
        rate: Option<u32>,
        /// Only say what today's code makes of each (the database is not asked)
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        attributes: AttributeArgs,
        #[command(flatten)]
        store: Box<StoreArgs>,
    },
    /// Write dead letters to a file, one JSON object a line, and leave them where they are
    Export {
        /// A new file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        store: Box<StoreArgs>,
    },
    /// Take dead letters out, after they were written to a file
    Discard {
        #[command(flatten)]
        filter: FilterArgs,
        /// A new file: everything is in it, on the disk, before it is taken
        #[arg(long, value_name = "FILE")]
        export: PathBuf,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        store: Box<StoreArgs>,
    },
    /// Put the dead letters of a file back
    Restore {
        /// A file that export or discard has written
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        store: Box<StoreArgs>,
    },
}

/// Runs a command of the workbench.
pub(crate) fn run(command: DlqCommand) -> ExitCode {
    let mut problems = Problems::default();
    match command {
        DlqCommand::List {
            filter,
            group,
            json,
            store,
        } => {
            let filter = filter.resolve(&mut problems);
            begin(&store, problems, |place| async move {
                list::list(&place, &filter, group, json).await
            })
        }
        DlqCommand::Show {
            id,
            json,
            attributes,
            store,
        } => {
            let options = enrichment(&attributes, &mut problems);
            if id.trim().len() < 8 {
                problems.bad("ID", &id, "at least the last 8 characters of an id");
            }
            begin(&store, problems, |place| async move {
                show::show(&place, DeadLetterFilter::of_id(id), &options, json).await
            })
        }
        DlqCommand::Replay {
            filter,
            rate,
            dry_run,
            yes,
            attributes,
            store,
        } => {
            let filter = filter.resolve(&mut problems);
            let options = enrichment(&attributes, &mut problems);
            if rate == Some(0) {
                problems.bad("--rate", "0", "a whole number from 1");
            }
            may_ask(&mut problems, yes || dry_run);
            begin(&store, problems, |place| async move {
                if dry_run {
                    replay::dry_run(&place, &filter, &options).await
                } else {
                    replay::replay(&place, &filter, rate, yes).await
                }
            })
        }
        DlqCommand::Export {
            file,
            filter,
            store,
        } => {
            let filter = filter.resolve(&mut problems);
            begin(&store, problems, |place| async move {
                export::export(&place, &filter, &file).await
            })
        }
        DlqCommand::Discard {
            filter,
            export,
            yes,
            store,
        } => {
            let filter = filter.resolve(&mut problems);
            may_ask(&mut problems, yes);
            begin(&store, problems, |place| async move {
                export::discard(&place, &filter, &export, yes).await
            })
        }
        DlqCommand::Restore { file, store } => begin(&store, problems, |place| async move {
            export::restore(&place, &file).await
        }),
    }
}

/// What today's code does with an event.
fn enrichment(attributes: &AttributeArgs, problems: &mut Problems) -> Options {
    attributes.resolve(problems).enrichment(Depth::Full)
}

fn may_ask(problems: &mut Problems, yes: bool) {
    if !yes && !io::stdin().is_terminal() {
        problems.missing(
            "--yes",
            "there is no terminal to ask on, so say it beforehand",
        );
    }
}

/// Checks the settings, then does the work on a runtime. `true`: everything that was asked for is
/// done.
fn begin<F: Future<Output = anyhow::Result<bool>>>(
    store: &StoreArgs,
    mut problems: Problems,
    work: impl FnOnce(StorePlace) -> F,
) -> ExitCode {
    let place = store.resolve(&mut problems);
    let Some(place) = place.filter(|_| problems.is_empty()) else {
        return ha_settings::exit_with_problems(&problems);
    };
    if let Err(error) = ha_telemetry::init_logs(false, &store.log) {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    finish(run_to_end(work(place)))
}

/// Two threads are plenty for one connection.
pub(crate) fn run_to_end<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(work)
}

/// Exit code 1 after an error, or when something was left undone. Whoever cuts the output short
/// (`| head`) has what he wanted.
pub(crate) fn finish(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let cut_short = error.chain().any(|cause| {
                let cause = cause.downcast_ref::<io::Error>();
                cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
            });
            if cut_short {
                return ExitCode::SUCCESS;
            }
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
