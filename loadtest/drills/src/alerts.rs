//! `loadtest alerts`: every alert of `deploy/prometheus` and every panel of `deploy/grafana` on a
//! running system.
//!
//! The product, RabbitMQ, InfluxDB, Prometheus and Alertmanager are real; the files are those that
//! are shipped, with times and limits made smaller (`render`) so that it takes minutes and not
//! hours. First nothing is wrong (`quiet`), and no alert may come. Then for each alert its fault is
//! made, and the alert must arrive at a web hook, at the receiver that `routes.test` names; the fault
//! is undone, and the resolution must arrive. Then the query of every panel must have an answer.

mod dashboards;
mod faults;
mod monitoring;
mod names;
mod page;
mod plan;
mod proofs;
mod proven;
mod quiet;
mod receiver;
mod render;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use ha_settings::{Problems, seconds};
use loadtest_engine::harness::Harness;
use loadtest_engine::plan::Plan;
use loadtest_engine::progress::Progress;
use loadtest_engine::settings::rate_of;
use tokio_util::sync::CancellationToken;

use monitoring::Monitoring;
use proofs::Proofs;
use proven::Proven;
use quiet::Quiet;

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
    /// Only this part; unset: both
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// Events per second while nothing is wrong and workers are restarted
    #[arg(long, value_name = "RATE", default_value = "2000")]
    quiet_rate: String,
    /// How long that lasts, such as 120 or 5m
    #[arg(long, value_name = "TIME", default_value = "120")]
    quiet_seconds: String,
}

/// What is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Nothing is wrong, and no alert comes
    Quiet,
    /// Every alert comes with its fault and goes with it, and every panel has an answer
    Faults,
}

/// What is to be proven, checked.
#[derive(Debug)]
pub struct AlertsJob {
    args: AlertsArgs,
    quiet: Option<Plan>,
    faults: Option<Plan>,
}

impl AlertsArgs {
    /// Checks everything; `None` after a problem.
    pub fn resolve(self, problems: &mut Problems) -> Option<AlertsJob> {
        let rate = rate_of(problems, "--quiet-rate", &self.quiet_rate);
        let duration = seconds(problems, "--quiet-seconds", &self.quiet_seconds);
        let faults = plan::of_faults(self.logs.clone(), problems)?;
        let wanted = |part| self.part.is_none_or(|only| only == part);
        let quiet = quiet::plan(faults.clone(), rate, duration);
        Some(AlertsJob {
            quiet: wanted(Part::Quiet).then_some(quiet),
            faults: wanted(Part::Faults).then_some(faults),
            args: self,
        })
    }
}

/// Proves that nothing comes when nothing is wrong, then the alerts, then the dashboards, and writes
/// the page. Ctrl-C and SIGTERM stop everything that was started.
///
/// # Errors
/// When something cannot be started, read or written.
#[tokio::main]
pub async fn command(job: AlertsJob) -> anyhow::Result<ExitCode> {
    let AlertsJob {
        args,
        quiet,
        faults,
    } = job;
    let interrupt = ha_telemetry::shutdown_token()?;
    let progress = Progress::new();
    let quiet = match quiet {
        Some(plan) => {
            Some(Box::pin(quiet::prove(plan, &args.deploy, &progress, &interrupt)).await?)
        }
        None => None,
    };
    let proven = match faults {
        Some(plan) => Some(Box::pin(make_faults(plan, &args, &progress, &interrupt)).await?),
        None => None,
    };
    progress.finish();
    let mut problems = quiet.as_ref().map_or_else(Vec::new, Quiet::problems);
    problems.extend(proven.iter().flat_map(|proven| proven.problems.clone()));
    let page = page::page(quiet.as_ref(), proven.as_ref(), &problems);
    match &args.output {
        Some(path) => {
            std::fs::write(path, &page).with_context(|| format!("writing {}", path.display()))?
        }
        None => print!("{page}"),
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn make_faults(
    plan: Plan,
    args: &AlertsArgs,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Proven> {
    let starting = Box::pin(Harness::start(plan, |step| progress.step(step)));
    let mut harness = tokio::select! {
        harness = starting => harness?,
        () = interrupt.cancelled() => bail!("interrupted"),
    };
    let proven = tokio::select! {
        proven = Box::pin(prove(&mut harness, args, progress)) => proven,
        () = interrupt.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    harness.stop().await;
    if proven
        .as_ref()
        .map_or(true, |proven| !proven.problems.is_empty())
    {
        harness.keep_folder();
        let folder = args.logs.as_deref().unwrap_or(harness.folder());
        eprintln!("logs are in {}", folder.display());
    }
    proven
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
    let monitoring = Monitoring::start(
        harness,
        &args.deploy,
        receiver.port(),
        &render::Scale::FAULTS,
    )
    .await?;
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
        rows: proofs.rows().to_vec(),
        panels,
        problems,
    })
}
