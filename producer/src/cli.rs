//! The command line.

use crate::commands::demo::DemoArgs;
use crate::commands::import::ImportArgs;
use crate::{App, Config, ProducerArgs};
use clap::{Parser, Subcommand};
use ha_settings::{AdminArgs, LogArgs, LogFormat, Problems, TraceArgs, TraceSettings};
use std::process::ExitCode;

/// Reads Home Assistant's events and sees every one of them into the database
#[derive(Debug, Parser)]
#[command(name = "producer", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ingest until SIGTERM
    Run {
        #[command(flatten)]
        producer: Box<ProducerArgs>,
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        trace: TraceArgs,
    },
    /// See it work with nothing installed: a simulated Home Assistant, an embedded database
    Demo(DemoArgs),
    /// Try every connection that run would use; one line each, with the remedy
    Check {
        #[command(flatten)]
        producer: Box<ProducerArgs>,
    },
    /// Import a file of captured messages; repeating it changes nothing in the database
    Import(Box<ImportArgs>),
    /// Ask the running producer's /healthz, for a container's HEALTHCHECK
    Healthcheck {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Runs the command of the command line.
#[must_use]
pub fn run() -> ExitCode {
    match ha_settings::parse::<Cli>().command {
        Command::Run {
            producer,
            log,
            trace,
        } => {
            let mut problems = Problems::default();
            let format = log.resolve(&mut problems);
            let trace = trace.resolve(&mut problems);
            let config = producer.resolve(&mut problems);
            let Some(config) = config.filter(|_| problems.is_empty()) else {
                return ha_settings::exit_with_problems(&problems);
            };
            if let Err(error) = ha_telemetry::init_logs(format == LogFormat::Json, &log.log) {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
            said(serve(config, trace))
        }
        Command::Demo(demo) => {
            let mut problems = Problems::default();
            let Some(demo) = demo.resolve(&mut problems).filter(|_| problems.is_empty()) else {
                return ha_settings::exit_with_problems(&problems);
            };
            // The demo's own lines are the output; of the log only what goes wrong is of interest.
            if let Err(error) = ha_telemetry::init_logs(false, "error") {
                eprintln!("{error}");
            }
            said(crate::commands::demo::run(demo))
        }
        Command::Check { producer } => {
            let mut problems = Problems::default();
            let config = producer.resolve(&mut problems);
            let Some(config) = config.filter(|_| problems.is_empty()) else {
                return ha_settings::exit_with_problems(&problems);
            };
            crate::commands::check::run(&config)
        }
        Command::Import(import) => crate::commands::import::run(&import),
        Command::Healthcheck { admin } => {
            let mut problems = Problems::default();
            match admin.resolve_address(&mut problems, "127.0.0.1:8100") {
                Some(address) => ha_check::healthcheck(address),
                None => ha_settings::exit_with_problems(&problems),
            }
        }
    }
}

fn said(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// On one thread: the time of several goes into waking each other.
#[tokio::main(flavor = "current_thread")]
async fn serve(config: Config, trace: Option<TraceSettings>) -> anyhow::Result<()> {
    let metrics = ha_telemetry::install_metrics("producer")?;
    let shutdown = ha_telemetry::shutdown_token()?;
    let instance = Some(config.instance.as_str());
    let name = "ha-ingestor-producer";
    let traces = ha_telemetry::traces(trace.as_ref(), name, instance, &config.tls)?;
    let app = Box::pin(async { App::build(config, metrics).await?.run(shutdown).await });
    ha_telemetry::reported(traces, app).await
}
