//! What the processes of a run are started from: binaries, names, links.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::run::backend::Environment;
use crate::run::rig::{Link, Links};
use crate::run::settings::Plan;

/// The name of one of several homes.
pub(super) fn numbered_instance(instance: &str, at: usize) -> String {
    format!("{instance}-{}", at + 1)
}

pub(super) struct Binaries {
    pub(super) producer: PathBuf,
    pub(super) worker: PathBuf,
}

impl Binaries {
    pub(super) fn find(plan: &Plan) -> anyhow::Result<Self> {
        let folder = match &plan.binaries {
            Some(folder) => folder.clone(),
            None => {
                let own = std::env::current_exe().context("finding this binary")?;
                own.parent().map(PathBuf::from).unwrap_or_default()
            }
        };
        let (producer, worker) = (folder.join("producer"), folder.join("worker"));
        let needed = if plan.workers_started() > 0 { 2 } else { 1 };
        for binary in [&producer, &worker].into_iter().take(needed) {
            if !binary.is_file() {
                bail!(
                    "{} is not there; build the binaries beside this one: cargo build -p producer \
                     -p worker -p loadtest (with --release if this one is a release build)",
                    binary.display()
                );
            }
        }
        Ok(Self { producer, worker })
    }
}

/// The proxies that the plan asks for, in front of what the processes would connect to.
pub(super) async fn links(
    plan: &Plan,
    environment: &Environment,
    home: &str,
) -> anyhow::Result<Links> {
    let mut links = Links::default();
    let setting = |name: &str| {
        let found = environment.iter().rfind(|(set, _)| *set == name);
        found.map(|(_, value)| value.as_str())
    };
    for link in &plan.rig.links {
        let target = match link {
            Link::HomeProducer => Some(home),
            Link::ProducerBroker | Link::WorkerBroker => setting("AMQP_URL"),
            Link::ProducerDatabase | Link::WorkerDatabase => setting("INFLUXDB_URL"),
            // They are put in front of the workers when these have their addresses.
            Link::ProducerWorkers => None,
        };
        if let Some(target) = target {
            links.add(*link, &target.parse()?).await?;
        }
    }
    Ok(links)
}
