//! Everything that a run needs, started and stopped: services, the simulated home, the processes.

mod counts;
mod disturb;
mod rest;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use ha_services::Services;
use ha_simulator::{Ledger, SimulatorStats};
use loadtest_report::{Exit, LatencyMs, Role, Sample, Start};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use url::Url;

use crate::backend::{broker, database, start_services, watch_services};
use crate::binaries::Binaries;
use crate::cluster::Cluster;
use crate::database::{Database, numbered_instance};
use crate::latency::Latencies;
use crate::launches::Launches;
use crate::links::Links;
use crate::plan::{Load, Plan};
use crate::process::{GRACE, Launch, Process};
use crate::queues::Queues;
use crate::series::Recorder;
use crate::simulated_home::SimulatedHome;
use crate::usage::Usage;

const HTTP_TIMEOUT: Duration = Duration::from_secs(20);
const STARTED_AT_ONCE: usize = 8;

/// A system that is ready to be driven. Dropping it stops it by force; [`Harness::stop`] in good
/// order.
#[derive(Debug)]
pub struct Harness {
    // Dropped in this order: processes before what they are connected to.
    processes: Vec<Process>,
    queues: Option<Queues>,
    homes: Vec<SimulatedHome>,
    recorder: Recorder,
    links: Links,
    database: Arc<Database>,
    usage: Usage,
    latencies: Latencies,
    client: reqwest::Client,
    cluster: Option<Cluster>,
    services: Option<Services>,
    /// As the broker knows it: user and virtual host.
    amqp_url: Option<Url>,
    folder: TempDir,
    /// Of the home, or of the homes before their numbers.
    instance: String,
    plan: Plan,
    starts: Vec<Start>,
    notes: Vec<String>,
}

impl Harness {
    /// Starts everything and waits until the producer is subscribed and all processes are ready.
    ///
    /// # Errors
    /// What could not be started, and the remedy; what was started is stopped again.
    pub async fn start(plan: Plan, on_step: impl Fn(&str)) -> anyhow::Result<Self> {
        let binaries = Binaries::find(&plan)?;
        let folder = tempfile::Builder::new().prefix("ha-loadtest-").tempdir()?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(HTTP_TIMEOUT)
            .build()?;
        let services = start_services(&plan, &on_step).await?;
        let instance = Services::unique_name("loadtest");
        let mut environment = vec![
            ("INSTANCE_NAME", instance.clone()),
            ("SHUTDOWN_GRACE_S", GRACE.as_secs().to_string()),
            ("LOG_FORMAT", "json".to_owned()),
        ];
        let cluster = match &services {
            Some(services) if plan.topology.cluster => {
                on_step("joining two more nodes of RabbitMQ");
                Some(Cluster::form(services).await?)
            }
            _ => None,
        };
        let broker = broker(&plan, services.as_ref(), cluster.as_ref()).await?;
        let mut amqp_url = None;
        let queues = match broker {
            None => None,
            Some((url, management)) => {
                environment.push(("AMQP_URL", url.to_string()));
                amqp_url = Some(url.clone());
                Some(Queues::watch(url, management, &plan.tls, &client).await?)
            }
        };
        let database = database(
            &plan,
            services.as_ref(),
            &instance,
            &folder,
            &mut environment,
        )
        .await?
        .into();
        let usage = Usage::start();
        watch_services(services.as_ref(), &usage);
        let homes = SimulatedHome::start(plan.homes, plan.entities).await?;
        let first = homes.first().context("a run needs a home")?;
        let links = Links::start(&plan, &environment, &first.simulator().url()).await?;
        let (latencies, processes) = (Latencies::new()?, Vec::new());
        let ledgers = homes.iter().map(|home| home.simulator().ledger()).collect();
        let depth = queues.as_ref().map(Queues::watched);
        let recorder = Recorder::start(ledgers, depth, &usage, client.clone());
        let mut harness = Self {
            processes,
            queues,
            homes,
            recorder,
            links,
            database,
            usage,
            latencies,
            client,
            cluster,
            services,
            amqp_url,
            folder,
            instance,
            notes: plan.topology.notes.clone(),
            plan,
            starts: Vec::new(),
        };
        on_step("starting the processes");
        let launches = Launches {
            plan: &harness.plan,
            binaries: &binaries,
            environment: &environment,
            homes: &harness.homes,
            links: &mut harness.links,
            folder: harness.folder.path(),
            instance: &harness.instance,
        };
        let launches = launches.make().await?;
        harness.launch(&launches).await?;
        harness.recorder.ask(harness.admin_urls("/status"));
        Ok(harness)
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The simulated home, the first one of several.
    pub fn home(&self) -> &SimulatedHome {
        // A run without a home does not start.
        &self.homes[0]
    }

    /// What was fired and sent by the home, the first one of several.
    #[must_use]
    pub fn ledger(&self) -> Arc<Ledger> {
        self.home().simulator().ledger()
    }

    /// Events fired by all homes.
    #[must_use]
    pub fn fired(&self) -> u64 {
        let ledgers = self.homes.iter().map(|home| home.simulator().ledger());
        ledgers.map(|ledger| ledger.fired()).sum()
    }

    /// Events of all homes that were written to the socket of a subscribed producer.
    #[must_use]
    pub fn sent(&self) -> u64 {
        let ledgers = self.homes.iter().map(|home| home.simulator().ledger());
        ledgers.map(|ledger| ledger.sent()).sum()
    }

    /// Each home's ledger, and the database as far as it is about that home.
    pub fn ledgers(&self) -> Vec<(Arc<Ledger>, Database)> {
        let ledger = |home: &SimulatedHome| home.simulator().ledger();
        if let [only] = self.homes.as_slice() {
            return vec![(ledger(only), self.database.as_ref().clone())];
        }
        let numbered = self.homes.iter().enumerate();
        numbered
            .map(|(at, home)| {
                let instance = numbered_instance(&self.instance, at);
                (ledger(home), self.database.of_home(&instance))
            })
            .collect()
    }

    /// The run over time.
    pub fn series(&self) -> Vec<Sample> {
        self.recorder.samples()
    }

    /// What the simulated Home Assistant sees of the producer; of several, the first one.
    #[must_use]
    pub fn home_stats(&self) -> SimulatorStats {
        self.home().simulator().stats()
    }

    /// What all simulated homes see.
    pub fn all_home_stats(&self) -> Vec<SimulatorStats> {
        let homes = self.homes.iter();
        homes.map(|home| home.simulator().stats()).collect()
    }

    /// Where the points are.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The private services, if any were started.
    #[must_use]
    pub fn services(&self) -> Option<&Services> {
        self.services.as_ref()
    }

    /// Where logs, spool and embedded database of the run are.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Keeps the folder beyond the run.
    pub fn keep_folder(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// The measured time begins, and events are fired; the handle gives their number.
    #[must_use]
    pub fn fire(&self) -> JoinHandle<u64> {
        self.begin();
        self.fire_load(&self.plan.load, self.plan.rate)
    }

    /// The measured time begins.
    pub fn begin(&self) {
        self.usage.begin();
        self.recorder.begin();
    }

    /// Everything that was fired is stored: what is used from now on is no part of the load. Only
    /// the first call counts.
    pub fn end_load(&self) {
        self.usage.end(self.sent());
    }

    /// Events are fired at a rate, that of all homes together; the handle gives their number.
    pub fn fire_load(&self, load: &Load, rate: f64) -> JoinHandle<u64> {
        let homes = self.homes.len().max(1);
        let rate_of_one = rate / homes as f64;
        let firing: Vec<JoinHandle<u64>> = self
            .homes
            .iter()
            .map(|home| home.fire(load.clone(), rate_of_one))
            .collect();
        tokio::spawn(async move {
            let fired = join_all(firing).await;
            fired.into_iter().map(Result::unwrap_or_default).sum()
        })
    }

    /// SIGTERM to the producer, then to the workers; how they ended. Latencies and the use of the
    /// machine are final then.
    pub async fn stop(&mut self) -> Vec<Exit> {
        self.recorder.end();
        self.collect_latencies().await;
        let (producers, workers): (Vec<_>, Vec<_>) = std::mem::take(&mut self.processes)
            .into_iter()
            .partition(|process| process.launch().role == Role::Producer);
        let mut exits = Vec::new();
        for group in [producers, workers] {
            let ending = group
                .into_iter()
                .map(|process| process.terminate(&self.usage));
            exits.extend(join_all(ending).await);
        }
        exits
    }

    /// What a running process says in `/status`.
    pub async fn status(&self, name: &str) -> anyhow::Result<Value> {
        let process = self.process(name);
        let url = process.with_context(|| format!("{name} does not run"))?;
        let answer = self.client.get(url.admin_url("/status")).send().await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// A path of the admin addresses of all running processes.
    pub fn admin_urls(&self, path: &str) -> Vec<String> {
        let processes = self.processes.iter();
        processes.map(|process| process.admin_url(path)).collect()
    }

    /// A running process.
    pub fn process(&self, name: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.name() == name)
    }

    /// How long the processes took to be ready.
    pub fn starts(&self) -> &[Start] {
        &self.starts
    }

    /// Remarks for the report.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Latencies of all processes, of those that have ended too.
    #[must_use]
    pub fn latency(&self) -> Option<LatencyMs> {
        self.latencies.summary()
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The broker's queues; `None` in a mode without a broker.
    #[must_use]
    pub fn queues(&self) -> Option<&Queues> {
        self.queues.as_ref()
    }

    /// The HTTP client of the run.
    #[must_use]
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    async fn collect_latencies(&mut self) {
        for process in &self.processes {
            if let Err(error) = self.latencies.add(process, &self.client).await {
                // It has ended, or hangs; the audit goes on without its latencies.
                self.notes
                    .push(format!("no latencies of {}: {error:#}", process.name()));
            }
        }
    }

    async fn launch(&mut self, launches: &[Launch]) -> anyhow::Result<()> {
        // Not all at once: each would wait for its turn at the processors, and none be ready in time.
        for some in launches.chunks(STARTED_AT_ONCE) {
            let first = self.processes.len();
            for launch in some {
                self.processes.push(launch.start(&self.usage)?);
            }
            let started = self.processes[first..].iter_mut();
            let ready = join_all(started.map(|process| process.ready(&self.client))).await;
            for start in ready {
                self.starts.push(start?);
            }
        }
        for home in &self.homes {
            home.subscribed().await?;
        }
        Ok(())
    }
}
