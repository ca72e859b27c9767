//! `loadtest alerts`: every alert of `deploy/prometheus` and every panel of `deploy/grafana` on a
//! running system.
//!
//! The product, RabbitMQ, InfluxDB, Prometheus and Alertmanager are real; the files are those that
//! are shipped, with times and limits made smaller (`render`) so that it takes minutes and not
//! hours. For each alert its fault is made, and the alert must arrive at a web hook, at the receiver
//! that `routes.test` names; the fault is undone, and the resolution must arrive. Then the query of
//! every panel must have an answer.

mod dashboards;
mod faults;
mod monitoring;
mod page;
mod proofs;
mod receiver;
mod render;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::Args;
use ha_settings::{InfluxVersion, Problems, TlsArgs};

use super::harness::Harness;
use super::rig::{Link, Rig};
use super::settings::{BrokerPlan, Load, Mode, Plan, SinkPlan};
use crate::progress::Progress;
use monitoring::Monitoring;
use proofs::Proofs;

/// Events a second while nothing is wrong.
const RATE: f64 = 60.0;
const ENTITIES: usize = 300;

/// Settings of `loadtest alerts`.
#[derive(Debug, Args)]
pub struct AlertsArgs {
    /// The folder with prometheus/, alertmanager/ and grafana/
    #[arg(long, value_name = "FOLDER", default_value = "deploy")]
    deploy: PathBuf,
    /// Write the tables here, as a page; unset: standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Keep the logs of the started processes here; unset: kept only when something was not seen
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
}

/// Proves the alerts, then the dashboards, and writes the page. Ctrl-C and SIGTERM stop everything
/// that was started.
///
/// # Errors
/// When something cannot be started, read or written.
#[tokio::main]
pub(crate) async fn command(args: AlertsArgs) -> anyhow::Result<ExitCode> {
    let interrupt = ha_telemetry::shutdown_token()?;
    let progress = Progress::new();
    let starting = Box::pin(Harness::start(plan(&args)?, |step| progress.step(step)));
    let mut harness = tokio::select! {
        harness = starting => harness?,
        () = interrupt.cancelled() => bail!("interrupted"),
    };
    let proven = tokio::select! {
        proven = Box::pin(prove(&mut harness, &args, &progress)) => proven,
        () = interrupt.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    harness.stop().await;
    progress.finish();
    let proven = match proven {
        Ok(proven) if proven.problems.is_empty() => proven,
        result => {
            harness.keep_folder();
            let folder = args.logs.as_deref().unwrap_or(harness.folder());
            eprintln!("logs are in {}", folder.display());
            result?
        }
    };
    match &args.output {
        Some(path) => std::fs::write(path, &proven.page)
            .with_context(|| format!("writing {}", path.display()))?,
        None => print!("{}", proven.page),
    }
    for problem in &proven.problems {
        eprintln!("{problem}");
    }
    Ok(if proven.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Proven {
    page: String,
    /// What was not as it should be; empty is a pass.
    problems: Vec<String>,
}

async fn prove(
    harness: &mut Harness,
    args: &AlertsArgs,
    progress: &Progress,
) -> anyhow::Result<Proven> {
    let begun = SystemTime::now();
    faults::limit_queue(harness).await?;
    let (arrivals, receiver) = receiver::listen().await?;
    progress.step("starting Prometheus and Alertmanager with the files of the deployment");
    let monitoring = Monitoring::start(harness, &args.deploy, receiver.port()).await?;
    let routes = render::read(&args.deploy.join("alertmanager/routes.test"))?;
    let mut proofs = Proofs::new(arrivals, &routes, progress);
    let firing = harness.fire_on();
    let made = faults::make_all(harness, &mut proofs).await;
    let panels = match &made {
        Ok(()) => {
            progress.step("asking what every panel of the dashboards asks");
            dashboards::ask(harness, &monitoring, &args.deploy, begun).await
        }
        Err(_) => Ok(Vec::new()),
    };
    harness.home().stop_firing(&firing);
    made?;
    let panels = panels?;
    let mut problems = proofs.problems(&monitoring.alerts);
    problems.extend(panels.iter().filter_map(dashboards::Panel::problem));
    Ok(Proven {
        page: page::page(proofs.rows(), &panels, &problems),
        problems,
    })
}

/// Mode queue with two workers; what is between the parts can be disturbed.
fn plan(args: &AlertsArgs) -> anyhow::Result<Plan> {
    let setting = |name, value: String| (name, value);
    let no_files = TlsArgs {
        tls_ca_file: None,
        tls_cert_file: None,
        tls_key_file: None,
    };
    let tls = no_files.resolve(&mut Problems::default());
    Ok(Plan {
        mode: Mode::Queue,
        homes: 1,
        workers: 2,
        rate: RATE,
        load: Load::House(Duration::MAX),
        entities: ENTITIES,
        sink: SinkPlan::PrivateInflux(InfluxVersion::V2),
        broker: BrokerPlan::Private,
        tls: tls.context("TLS without files")?,
        restarts_at: Vec::new(),
        rolling_restart_at: None,
        home_restarts: 0,
        drain_max: Duration::from_secs(120),
        logs: args.logs.clone(),
        binaries: None,
        rig: Rig {
            links: vec![Link::ProducerBroker, Link::WorkerDatabase],
            producer: vec![setting(
                "SPOOL_BYTES_MAX",
                render::SPOOL_BYTES_MAX.to_string(),
            )],
            // Small and one at a time, so that a slow database makes slow workers.
            worker: vec![
                setting("BATCH_POINTS_MAX", "100".to_owned()),
                setting("PREFETCH_EVENTS_MAX", "200".to_owned()),
                setting("WRITES_IN_FLIGHT_MAX", "1".to_owned()),
                setting("WEATHER_PROVIDER", "home-assistant".to_owned()),
            ],
            ..Rig::default()
        },
    })
}
