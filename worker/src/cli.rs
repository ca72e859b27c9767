//! The command line.

use crate::commands::audit::AuditArgs;
use crate::commands::dlq::DlqCommand;
use crate::commands::explain::ExplainArgs;
use crate::{App, WorkerArgs};
use clap::{Parser, Subcommand};
use ha_settings::{AdminArgs, LogArgs, LogFormat, Problems, TraceArgs, TraceSettings};
use std::process::ExitCode;

/// Takes Home Assistant's events off RabbitMQ, enriches them and writes them to InfluxDB
#[derive(Debug, Parser)]
#[command(name = "worker", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
enum Command {
    /// Consume, enrich, write, acknowledge; until SIGTERM
    Run {
        #[command(flatten)]
        worker: Box<WorkerArgs>,
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        trace: TraceArgs,
    },
    /// Look at dead letters, replay them, or put them away
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// What each filter and stage does to an event, and the line protocol that comes out
    Explain(Box<ExplainArgs>),
    /// What is missing in the database, and why; exit code 1 if something is missing without a
    /// reason
    Audit(Box<AuditArgs>),
    /// Try every connection that run would use; one line each, with the remedy
    Check {
        #[command(flatten)]
        worker: Box<WorkerArgs>,
        /// RabbitMQ's management API, to see that the dead letters' queue has no delivery limit (needed
        /// on RabbitMQ 4 only); with user and password of AMQP_URL
        #[arg(
            long,
            env = "RABBITMQ_MANAGEMENT_URL",
            value_name = "URL",
            help_heading = "RabbitMQ"
        )]
        rabbitmq_management_url: Option<String>,
    },
    /// Ask the running worker's /healthz, for a container's HEALTHCHECK
    Healthcheck {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Runs the command of the command line.
#[must_use]
pub fn run() -> ExitCode {
    let (worker, log, trace) = match ha_settings::parse::<Cli>().command {
        Command::Run { worker, log, trace } => (worker, log, trace),
        Command::Dlq(command) => return crate::commands::dlq::run(command),
        Command::Explain(explain) => return crate::commands::explain::run(&explain),
        Command::Audit(audit) => return crate::commands::audit::run(&audit),
        Command::Check {
            worker,
            rabbitmq_management_url,
        } => {
            return check(&worker, rabbitmq_management_url.as_deref());
        }
        Command::Healthcheck { admin } => {
            let mut problems = Problems::default();
            return match admin.resolve_address(&mut problems, "127.0.0.1:8200") {
                Some(address) => ha_check::healthcheck(address),
                None => ha_settings::exit_with_problems(&problems),
            };
        }
    };
    let mut problems = Problems::default();
    let format = log.resolve(&mut problems);
    let trace = trace.resolve(&mut problems);
    let config = worker.resolve(&mut problems);
    let Some(config) = config.filter(|_| problems.is_empty()) else {
        return ha_settings::exit_with_problems(&problems);
    };
    let json = format == LogFormat::Json;
    if let Err(error) = ha_telemetry::init_logs(json, &log.log) {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    match serve(config, trace) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(worker: &WorkerArgs, management: Option<&str>) -> ExitCode {
    let mut problems = Problems::default();
    let config = worker.resolve(&mut problems);
    let management = management.and_then(|text| {
        let valid = "a URL such as http://rabbitmq:15672";
        let url = text.parse::<url::Url>();
        url.map_err(|_| problems.bad("RABBITMQ_MANAGEMENT_URL", text, valid))
            .ok()
    });
    match config.filter(|_| problems.is_empty()) {
        Some(config) => crate::commands::check::run(&config, management.as_ref()),
        None => ha_settings::exit_with_problems(&problems),
    }
}

/// On one thread: the time of several goes into waking each other, and more workers do more.
#[tokio::main(flavor = "current_thread")]
async fn serve(config: crate::Config, trace: Option<TraceSettings>) -> anyhow::Result<()> {
    // Every TLS library here uses the process's one crypto provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = ha_telemetry::install_metrics("worker")?;
    let shutdown = ha_telemetry::shutdown_token()?;
    let name = "ha-ingestor-worker";
    let traces = ha_telemetry::traces(trace.as_ref(), name, None, &config.tls)?;
    let app = Box::pin(async { App::build(config, metrics).await?.run(shutdown).await });
    ha_telemetry::reported(traces, app).await
}
