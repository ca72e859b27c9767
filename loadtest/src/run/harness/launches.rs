//! How the processes of a run are started: binaries, settings, ports.

use std::path::PathBuf;

use anyhow::Context as _;
use url::Url;

use super::Harness;
use super::binaries::{Binaries, numbered_instance};
use crate::run::backend::Environment;
use crate::run::ports::free_port;
use crate::run::process::Launch;
use crate::run::rig::Link;
use crate::run::settings::{Mode, Plan};
use crate::run::usage::Role;

impl Harness {
    /// Where a worker without a broker keeps its letters.
    pub(super) fn letters_path(&self, worker: &str) -> PathBuf {
        self.folder.path().join(format!("{worker}.db"))
    }

    /// Every worker takes events over HTTP, on this machine; their addresses for the producer.
    async fn give_intakes(&mut self, workers: &mut [Launch]) -> anyhow::Result<String> {
        let mut urls = Vec::new();
        for worker in workers {
            let address = format!("127.0.0.1:{}", free_port()?);
            let mut url: Url = format!("http://{address}").parse()?;
            if self.plan.rig.links.contains(&Link::ProducerWorkers) {
                url = self.links.add(Link::ProducerWorkers, &url).await?;
            }
            urls.push(url.to_string());
            let letters = self.letters_path(&worker.name);
            worker.environment.extend([
                ("INTAKE_ADDR", address),
                ("SPOOL_PATH", letters.display().to_string()),
            ]);
        }
        Ok(urls.join(","))
    }

    /// The producer, then the workers.
    pub(super) async fn launches(
        &mut self,
        binaries: &Binaries,
        environment: &Environment,
    ) -> anyhow::Result<Vec<Launch>> {
        let folder = self.plan.logs.as_deref().unwrap_or(self.folder.path());
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let launch = |name: String, role, binary: &PathBuf| {
            let admin_port = free_port()?;
            let mut environment = environment.clone();
            environment.push(("ADMIN_ADDR", format!("127.0.0.1:{admin_port}")));
            let (broker, database, settings) = match role {
                Role::Producer => (
                    Link::ProducerBroker,
                    Link::ProducerDatabase,
                    &self.plan.rig.producer,
                ),
                _ => (
                    Link::WorkerBroker,
                    Link::WorkerDatabase,
                    &self.plan.rig.worker,
                ),
            };
            for (name, link) in [("AMQP_URL", broker), ("INFLUXDB_URL", database)] {
                let url = self.links.url(link);
                environment.extend(url.map(|url| (name, url.to_string())));
            }
            // The last of two of the same name counts.
            environment.extend(settings.iter().cloned());
            let log = folder.join(format!("{name}.log"));
            anyhow::Ok(Launch {
                name,
                role,
                binary: binary.clone(),
                environment,
                admin_port,
                log,
            })
        };
        let mut producers = Vec::new();
        for (at, home) in self.homes.iter().enumerate() {
            let name = match at {
                0 => "producer".to_owned(),
                _ => format!("producer-{}", at + 1),
            };
            let mut producer = launch(name, Role::Producer, &binaries.producer)?;
            let simulator = home.simulator();
            let home_url = self
                .links
                .url(Link::HomeProducer)
                .map_or_else(|| simulator.url(), Url::to_string);
            producer.environment.extend([
                ("ENRICHMENT_MODE", self.plan.mode.as_str().to_owned()),
                ("HOME_ASSISTANT_URL", home_url),
                ("HOME_ASSISTANT_TOKEN", simulator.token().to_owned()),
                ("SPOOL_PATH", self.spool_path_of(at).display().to_string()),
            ]);
            if self.homes.len() > 1 {
                let instance = numbered_instance(&self.instance, at);
                producer.environment.push(("INSTANCE_NAME", instance));
            }
            producers.push(producer);
        }
        let mut workers = Vec::new();
        for number in 1..=self.plan.workers_started() {
            workers.push(launch(
                format!("worker-{number}"),
                Role::Worker,
                &binaries.worker,
            )?);
        }
        if self.plan.mode == Mode::Service {
            let urls = self.give_intakes(&mut workers).await?;
            for producer in &mut producers {
                producer
                    .environment
                    .push(("ENRICHMENT_SERVICE_URL", urls.clone()));
            }
        }
        producers.extend(workers);
        Ok(producers)
    }
}

impl Plan {
    /// Worker processes that the mode needs.
    #[must_use]
    pub fn workers_started(&self) -> usize {
        match self.mode {
            Mode::Queue | Mode::Service => self.workers,
            Mode::Inline | Mode::Disabled => 0,
        }
    }
}
