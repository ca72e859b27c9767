//! The command line.

use crate::{App, WorkerArgs};
use clap::{Parser, Subcommand};
use ha_settings::{LogArgs, LogFormat, Problems};
use std::process::ExitCode;

/// Takes Home Assistant's events off RabbitMQ, enriches them and writes them to InfluxDB
#[derive(Debug, Parser)]
#[command(name = "worker", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Consume, enrich, write, acknowledge; until SIGTERM
    Run {
        #[command(flatten)]
        worker: Box<WorkerArgs>,
        #[command(flatten)]
        log: LogArgs,
    },
}

/// Runs the command of the command line.
#[must_use]
pub fn run() -> ExitCode {
    let Command::Run { worker, log } = ha_settings::parse::<Cli>().command;
    let mut problems = Problems::default();
    let format = log.resolve(&mut problems);
    let config = worker.resolve(&mut problems);
    let Some(config) = config.filter(|_| problems.is_empty()) else {
        return ha_settings::exit_with_problems(&problems);
    };
    let json = format == LogFormat::Json;
    if let Err(error) = ha_telemetry::init_logs(json, &log.log) {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: crate::Config) -> anyhow::Result<()> {
    // Every TLS library here uses the process's one crypto provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = ha_telemetry::install_metrics("worker")?;
    let shutdown = ha_telemetry::shutdown_token()?;
    App::build(config, metrics).await?.run(shutdown).await
}
