//! Everything that a run needs, started and stopped: services, the simulated home, the processes.

mod counts;
mod disturb;
mod rest;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::future::join_all;
use ha_services::Services;
use ha_simulator::{Ledger, SimulatorStats};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use url::Url;

use super::backend::{Environment, broker, database, start_services, watch_services};
use super::cluster::Cluster;
use super::database::Database;
use super::latency::{Latencies, LatencyMs};
use super::process::{Exit, GRACE, Launch, Process, Start};
use super::queues::Queues;
use super::rig::{Link, Links};
use super::series::{Recorder, Sample};
use super::settings::{Load, Mode, Plan};
use super::simulated_home::SimulatedHome;
use super::usage::{Role, Usage};
pub(super) use target::WriteTarget;

/// Ports of admin addresses; the private services have theirs above, both below the ephemeral
/// range.
const PORTS: std::ops::Range<u16> = 20_000..25_600;
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
    /// Stored before the first event, where that was looked at.
    records: u64,
    plan: Plan,
    starts: Vec<Start>,
    notes: Vec<String>,
}

impl Harness {
    /// Starts everything and waits until the producer is subscribed and all processes are ready.
    ///
    /// # Errors
    /// What could not be started, and the cure; what was started is stopped again.
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
            Some(services) if plan.rig.cluster => {
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
        let links = links(&plan, &environment, &first.simulator().url()).await?;
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
            records: 0,
            plan,
            starts: Vec::new(),
            notes: Vec::new(),
        };
        on_step("starting the processes");
        let launches = harness.launches(&binaries, &environment).await?;
        harness.launch(&launches).await?;
        harness.recorder.ask(harness.admin_urls("/status"));
        Ok(harness)
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
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
    pub(super) fn books(&self) -> Vec<(Arc<Ledger>, Database)> {
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
    pub(super) fn series(&self) -> Vec<Sample> {
        self.recorder.samples()
    }

    /// What the simulated Home Assistant sees of the producer; of several, the first one.
    #[must_use]
    pub fn home_stats(&self) -> SimulatorStats {
        self.home().simulator().stats()
    }

    /// What all simulated homes see.
    pub(super) fn all_home_stats(&self) -> Vec<SimulatorStats> {
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
    pub(super) fn begin(&self) {
        self.usage.begin();
        self.recorder.begin();
    }

    /// Everything that was fired is stored: what is used from now on is no part of the load. Only
    /// the first call counts.
    pub(super) fn end_load(&self) {
        self.usage.end();
    }

    /// Events are fired at a rate, that of all homes together; the handle gives their number.
    pub(super) fn fire_load(&self, load: &Load, rate: f64) -> JoinHandle<u64> {
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

    /// SIGTERM to all processes at once; they are started again and the producer is subscribed
    /// when this returns.
    ///
    /// # Errors
    /// When a process does not come up again.
    pub async fn restart_processes(&mut self) -> anyhow::Result<Vec<Exit>> {
        self.collect_latencies().await;
        let processes = std::mem::take(&mut self.processes);
        let launches: Vec<Launch> = processes
            .iter()
            .map(|process| process.launch().clone())
            .collect();
        let exits = join_all(
            processes
                .into_iter()
                .map(|process| process.terminate(&self.usage)),
        );
        let exits = exits.await;
        self.launch(&launches).await?;
        Ok(exits)
    }

    /// Home Assistant restarts: closed in good order or killed. The producer is subscribed again
    /// when this returns. Gives the number of the connection that ended.
    ///
    /// # Errors
    /// When the producer does not come back.
    pub async fn restart_home(&self, kill: bool, down_for: Duration) -> anyhow::Result<u32> {
        let connection = self.home_stats().connections_accepted;
        if kill {
            self.home().kill(down_for).await?;
        } else {
            self.home().restart(down_for).await?;
        }
        self.home().subscribed().await?;
        Ok(u32::try_from(connection).unwrap_or(u32::MAX))
    }

    /// Points of live events in the database, or, where they are discarded, what the processes say
    /// that they have written.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn stored(&self) -> anyhow::Result<u64> {
        if !matches!(*self.database, Database::Nowhere) {
            return self.database.live_points().await;
        }
        let stored = self.latencies_now().await?.count();
        Ok(stored.saturating_sub(self.records))
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
    pub(super) async fn status(&self, name: &str) -> anyhow::Result<Value> {
        let process = self.process(name);
        let url = process.with_context(|| format!("{name} does not run"))?;
        let answer = self.client.get(url.admin_url("/status")).send().await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// How long the processes took to be ready.
    pub(super) fn starts(&self) -> &[Start] {
        &self.starts
    }

    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(super) fn latency(&self) -> Option<LatencyMs> {
        self.latencies.summary()
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(super) fn queues(&self) -> Option<&Queues> {
        self.queues.as_ref()
    }

    pub(super) fn client(&self) -> &reqwest::Client {
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

    /// Where a worker without a broker keeps its letters.
    fn letters_path(&self, worker: &str) -> PathBuf {
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
    async fn launches(
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

/// The name of one of several homes.
fn numbered_instance(instance: &str, at: usize) -> String {
    format!("{instance}-{}", at + 1)
}

struct Binaries {
    producer: PathBuf,
    worker: PathBuf,
}

impl Binaries {
    fn find(plan: &Plan) -> anyhow::Result<Self> {
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
async fn links(plan: &Plan, environment: &Environment, home: &str) -> anyhow::Result<Links> {
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

/// A port that nobody listens on; a process is never given the same one twice. The search begins at
/// a place that depends on the process: load tests side by side seldom meet.
pub(super) fn free_port() -> anyhow::Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(16).wrapping_add(given);
        let port = PORTS.start + u16::try_from(offset % PORTS.len() as u32)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {} to {}", PORTS.start, PORTS.end - 1)
}
