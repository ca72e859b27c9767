//! How the processes of a run are started: settings, ports, files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use loadtest_report::Role;
use url::Url;

use crate::backend::Environment;
use crate::binaries::Binaries;
use crate::database::numbered_instance;
use crate::links::Links;
use crate::plan::{Mode, Plan};
use crate::ports::free_port;
use crate::process::Launch;
use crate::simulated_home::SimulatedHome;
use crate::topology::Link;

/// What the processes of a run are started with.
pub(crate) struct Launches<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) binaries: &'a Binaries,
    /// Settings that all processes share.
    pub(crate) environment: &'a Environment,
    pub(crate) homes: &'a [SimulatedHome],
    /// Proxies in front of the workers' intakes are added here.
    pub(crate) links: &'a mut Links,
    /// Folder of the run.
    pub(crate) folder: &'a Path,
    /// Instance name of the home, or the prefix of the names of several.
    pub(crate) instance: &'a str,
}

impl Launches<'_> {
    /// The producers, then the workers.
    pub(crate) async fn make(mut self) -> anyhow::Result<Vec<Launch>> {
        let log_folder = self.plan.logs.as_deref().unwrap_or(self.folder);
        std::fs::create_dir_all(log_folder)
            .with_context(|| format!("creating {}", log_folder.display()))?;
        let mut launches = Vec::new();
        for (at, home) in self.homes.iter().enumerate() {
            launches.push(self.producer(at, home, log_folder)?);
        }
        let mut workers = Vec::new();
        for number in 1..=self.plan.workers_started() {
            let name = format!("worker-{number}");
            workers.push(self.launch(name, Role::Worker, log_folder)?);
        }
        if self.plan.mode == Mode::Service {
            let urls = self.give_intakes(&mut workers).await?;
            for producer in &mut launches {
                let setting = ("ENRICHMENT_SERVICE_URL", urls.clone());
                producer.environment.push(setting);
            }
        }
        launches.extend(workers);
        Ok(launches)
    }

    fn producer(
        &self,
        at: usize,
        home: &SimulatedHome,
        log_folder: &Path,
    ) -> anyhow::Result<Launch> {
        let name = match at {
            0 => "producer".to_owned(),
            _ => format!("producer-{}", at + 1),
        };
        let mut producer = self.launch(name, Role::Producer, log_folder)?;
        let simulator = home.simulator();
        let home_url = self.links.url(Link::HomeProducer);
        let home_url = home_url.map_or_else(|| simulator.url(), Url::to_string);
        let spool_path = spool_path(self.folder, at);
        producer.environment.extend([
            ("ENRICHMENT_MODE", self.plan.mode.as_str().to_owned()),
            ("HOME_ASSISTANT_URL", home_url),
            ("HOME_ASSISTANT_TOKEN", simulator.token().to_owned()),
            ("SPOOL_PATH", spool_path.display().to_string()),
        ]);
        if self.homes.len() > 1 {
            let instance = numbered_instance(self.instance, at);
            producer.environment.push(("INSTANCE_NAME", instance));
        }
        Ok(producer)
    }

    fn launch(&self, name: String, role: Role, log_folder: &Path) -> anyhow::Result<Launch> {
        let admin_port = free_port()?;
        let mut environment = self.environment.clone();
        environment.push(("ADMIN_ADDR", format!("127.0.0.1:{admin_port}")));
        let (binaries, topology) = (self.binaries, &self.plan.topology);
        let (binary, broker, database, settings) = match role {
            Role::Producer => (
                &binaries.producer,
                Link::ProducerBroker,
                Link::ProducerDatabase,
                &topology.producer,
            ),
            _ => (
                &binaries.worker,
                Link::WorkerBroker,
                Link::WorkerDatabase,
                &topology.worker,
            ),
        };
        for (name, link) in [("AMQP_URL", broker), ("INFLUXDB_URL", database)] {
            let url = self.links.url(link);
            environment.extend(url.map(|url| (name, url.to_string())));
        }
        // The last of two of the same name counts.
        environment.extend(settings.iter().cloned());
        let log = log_folder.join(format!("{name}.log"));
        Ok(Launch {
            name,
            role,
            binary: binary.clone(),
            environment,
            admin_port,
            log,
        })
    }

    /// Every worker takes events over HTTP, on this machine; their addresses for the producer.
    async fn give_intakes(&mut self, workers: &mut [Launch]) -> anyhow::Result<String> {
        let mut urls = Vec::new();
        for worker in workers {
            let address = format!("127.0.0.1:{}", free_port()?);
            let mut url: Url = format!("http://{address}").parse()?;
            if self.plan.topology.links.contains(&Link::ProducerWorkers) {
                url = self.links.add(Link::ProducerWorkers, &url).await?;
            }
            urls.push(url.to_string());
            let dead_letters = dead_letters_path(self.folder, &worker.name);
            worker.environment.extend([
                ("INTAKE_ADDR", address),
                ("SPOOL_PATH", dead_letters.display().to_string()),
            ]);
        }
        Ok(urls.join(","))
    }
}

/// The spool of the producer of one of the homes.
pub(crate) fn spool_path(folder: &Path, home: usize) -> PathBuf {
    folder.join(match home {
        0 => "spool.db".to_owned(),
        _ => format!("spool-{}.db", home + 1),
    })
}

/// Where a worker without a broker keeps its dead letters.
pub(crate) fn dead_letters_path(folder: &Path, worker: &str) -> PathBuf {
    folder.join(format!("{worker}.db"))
}
