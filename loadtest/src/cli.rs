//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ha_settings::Problems;

use crate::home::HomeArgs;
use crate::page::PageArgs;
use crate::run::alerts::AlertsArgs;
use crate::run::drill::{DrillArgs, Drills};
use crate::run::soak::SoakArgs;
use crate::run::{RunArgs, Verdict};

/// Drives HA Ingestor with a simulated Home Assistant and audits every event
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The simulated Home Assistant by itself, until Ctrl-C
    Home(HomeArgs),
    /// Drive the system, audit every event, report
    #[command(subcommand)]
    Run(Scenario),
    /// Make a page of the reports that `run drill --folder` has written
    Report(PageArgs),
    /// Make each alert's fault on a running system, see it arrive and end, and ask every panel's query
    ///
    /// Takes a quarter of an hour. Exit code 0 only when every rule of deploy/prometheus was seen
    /// firing and resolved, at the right receiver, and no panel of deploy/grafana was empty.
    Alerts(AlertsArgs),
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// One rate for some time
    ///
    /// With no addresses it starts private services (RabbitMQ; InfluxDB 1.x, with --influxdb-api
    /// v2 behind an nginx that gives it the shape of the v2 API) and the producer and worker
    /// binaries beside its own, and stops them again; with addresses it attaches to what runs
    /// there. Exit code 0 only when the verdict is pass: nothing missing, nothing twice, at least
    /// 95 % of rate x seconds sent. Settings of the producer and the worker that this command does
    /// not set itself (such as BATCH_AGE_MS_MAX) are taken from the environment.
    #[command(verbatim_doc_comment)]
    Steady(Box<RunArgs>),
    /// One fault while events flow; afterwards every event is looked for
    ///
    /// The fault begins after a third of the run. All events count, sent or not: what the producer
    /// could not hear it must fetch from Home Assistant's history. Exit code 0 only when nothing is
    /// missing and nothing is there twice; 3 when a drill cannot be made here (the report says why).
    #[command(verbatim_doc_comment)]
    Drill(Box<DrillArgs>),
    /// Faults at random while events flow; afterwards every event is looked for
    ///
    /// The seed, given or by chance, makes the same schedule of faults again.
    Soak(Box<SoakArgs>),
}

/// Runs the command of the command line.
#[must_use]
pub fn run() -> ExitCode {
    // Every TLS library here uses the process's one crypto provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut problems = Problems::default();
    let result = match ha_settings::parse::<Cli>().command {
        Command::Home(args) => {
            let Some(options) = args.resolve(&mut problems).filter(|_| problems.is_empty()) else {
                return ha_settings::exit_with_problems(&problems);
            };
            crate::home::run(options)
        }
        Command::Run(Scenario::Drill(args)) => {
            let Some(drills) = args.resolve(&mut problems).filter(|_| problems.is_empty()) else {
                return ha_settings::exit_with_problems(&problems);
            };
            crate::run::drills(drills)
        }
        Command::Run(Scenario::Soak(args)) => {
            let Some((plan, output)) = args.resolve(&mut problems).filter(|_| problems.is_empty())
            else {
                return ha_settings::exit_with_problems(&problems);
            };
            crate::run::drills(Drills {
                plans: vec![plan],
                folder: None,
                json: output.json,
            })
        }
        Command::Report(args) => crate::page::run(&args),
        Command::Alerts(args) => crate::run::alerts::command(args),
        Command::Run(Scenario::Steady(args)) => {
            let Some(plan) = args.resolve(&mut problems).filter(|_| problems.is_empty()) else {
                return ha_settings::exit_with_problems(&problems);
            };
            crate::run::command(plan, &args.output()).map(|verdict| match verdict {
                Verdict::Pass => ExitCode::SUCCESS,
                Verdict::Fail | Verdict::NotPossible => ExitCode::FAILURE,
            })
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}
