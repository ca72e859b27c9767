//! The settings of `loadtest run drill`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ha_settings::Problems;
use loadtest_engine::cluster;
use loadtest_engine::plan::{BrokerPlan, Load, Plan, SinkPlan};
use loadtest_engine::settings::{Defaults, RunArgs};
use loadtest_engine::topology::Topology;

use super::fault::{FaultName, POISON_ENTITY};
use super::plan::{DrillPlan, Drills, Planned};

/// Bytes of the spool that is to overflow: the least that the producer takes.
const SMALL_SPOOL_BYTES: u32 = 4 << 20;
/// Less than the fifth of ten minutes, so that the outage is longer and deliveries are given back.
const SINK_HOLD: &str = "60s";
/// A fifth of RabbitMQ's default of thirty minutes.
const CONSUMER_TIMEOUT_MS: u32 = 360_000;

/// Debug builds of the worker know it.
const POISON_VARIABLE: &str = "HA_INGESTOR_TEST_POISON";

/// Settings of `loadtest run drill`, as given.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// What is done to the system; a name, several with commas, or all, which runs them in turn
    #[arg(long, value_name = "NAME|all")]
    fault: String,
    /// Write one JSON report a drill here, NAME.json, or NAME-MODE.json in another mode than queue
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

impl DrillArgs {
    /// Checks everything; `None` after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<Drills> {
        let faults = self.faults(problems);
        let output = self.run.output();
        if faults.len() > 1 && (output.json.is_some() || output.html.is_some()) {
            problems.other("--json and --html are for one drill; give --folder for several");
        }
        let mut plans = Vec::new();
        for fault in faults {
            // What is wrong with one is wrong with all.
            if problems.is_empty() {
                plans.extend(plan(fault, &self.run, problems));
            }
        }
        if self.fault == "all" {
            plans.retain(|plan| plan.means_something());
        }
        problems.is_empty().then(|| Drills {
            plans,
            folder: self.folder.clone(),
            output,
        })
    }

    fn faults(&self, problems: &mut Problems) -> Vec<FaultName> {
        if self.fault == "all" {
            return FaultName::all().collect();
        }
        let mut faults = Vec::new();
        for name in self.fault.split(',') {
            match name.trim().parse() {
                Ok(fault) => faults.push(fault),
                Err(()) => {
                    let names: Vec<&str> = FaultName::all().map(FaultName::as_str).collect();
                    let names = names.join(", ");
                    problems.bad("--fault", name, format_args!("all, or one of {names}"));
                }
            }
        }
        faults
    }
}

fn plan(fault: FaultName, args: &RunArgs, problems: &mut Problems) -> Option<DrillPlan> {
    let row = fault.row();
    let defaults = Defaults {
        workers: row.workers,
        rate: "2000",
        duration: Duration::from_secs(60).max(row.run_min()),
        drain: "300",
    };
    let mut run = args.resolve_alone(problems, "a drill", &defaults)?;
    let Load::House(duration) = &mut run.load else {
        return None;
    };
    *duration = (*duration).max(row.run_min());
    let (at, lasts) = row.schedule(*duration);
    let seconds = duration.as_secs();
    run.topology = topology(fault);
    let pointless = pointless(fault, &run);
    Some(DrillPlan {
        scenario: "drill",
        name: fault.as_str().to_owned(),
        about: row.about.to_owned(),
        command: format!(
            "loadtest run drill --fault {fault} --mode {} --rate {} --seconds {seconds}",
            run.mode.as_str(),
            run.rate
        ),
        run,
        pointless,
        schedule: vec![Planned { fault, at, lasts }],
    })
}

fn topology(fault: FaultName) -> Topology {
    let setting = |name, value: &str| vec![(name, value.to_owned())];
    let mut topology = Topology {
        links: fault.row().links.into(),
        ..Topology::default()
    };
    match fault {
        FaultName::DbLongOutage => {
            topology.worker = setting("SINK_HOLD_MAX", SINK_HOLD);
            let timeout = CONSUMER_TIMEOUT_MS.to_string();
            topology.services = setting("RABBITMQ_CONSUMER_TIMEOUT_MS", &timeout);
        }
        // Points written straight to the database would hide what a spool lost.
        FaultName::ProducerSpoolTorn => {
            topology.producer = setting("FALLBACK_DIRECT_WRITE", "false")
        }
        FaultName::ProducerSpoolFull => {
            topology.producer = setting("FALLBACK_DIRECT_WRITE", "false");
            let bytes = SMALL_SPOOL_BYTES.to_string();
            topology.producer.push(("SPOOL_BYTES_MAX", bytes));
        }
        FaultName::WorkerPoison => topology.worker = setting(POISON_VARIABLE, POISON_ENTITY),
        FaultName::BrokerLeaderKill => {
            topology.cluster = true;
            topology.services = cluster::first_node();
        }
        _ => {}
    }
    topology
}

/// Why the drill means nothing with this system.
pub(crate) fn pointless(fault: FaultName, run: &Plan) -> Option<String> {
    if let Some(reason) = fault.row().pointless_in(run.mode) {
        return Some(reason.to_owned());
    }
    let own_database = matches!(run.sink, SinkPlan::PrivateInflux(_));
    let own_broker = !matches!(run.broker, BrokerPlan::Given { .. });
    if !own_database && !matches!(run.sink, SinkPlan::Influx(_)) {
        return Some("drills are made with InfluxDB".to_owned());
    }
    if fault.row().disturbs_services && !(own_database && own_broker) {
        return Some(
            "it disturbs the services, and these are somebody's: give no addresses".to_owned(),
        );
    }
    None
}
