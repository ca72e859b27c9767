//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ha_settings::Problems;

use crate::home::HomeArgs;
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
        Command::Run(Scenario::Steady(args)) => {
            let Some(plan) = args.resolve(&mut problems).filter(|_| problems.is_empty()) else {
                return ha_settings::exit_with_problems(&problems);
            };
            crate::run::command(plan, &args.output()).map(|verdict| match verdict {
                Verdict::Pass => ExitCode::SUCCESS,
                Verdict::Fail => ExitCode::FAILURE,
            })
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}
