//! A running set of services and its owner.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use reqwest::Client;
use tokio::sync::OnceCell;

use crate::guard::{AtEnd, Guard};
use crate::ports::{self, PortRange};
use crate::script::Script;
use crate::{Service, client};

/// Real services that are running and answer.
///
/// Those that this value started end with it: dropping it, or any end of the process, stops them.
/// Dropping blocks until they have ended.
#[derive(Debug)]
pub struct Services {
    // Fields are dropped in this order: the ports are given back after the services have ended.
    _guard: Option<Guard>,
    _range: Option<PortRange>,
    dir: PathBuf,
    port_base: u16,
    which: Vec<Service>,
    script: Script,
    client: Client,
    shared: bool,
}

impl Services {
    /// Starts `which` with their state in `dir`, which is created and kept, on the 20 ports from
    /// `port_base` on. Data that an earlier set left in `dir` is there again. Services of `dir`
    /// that are running already are taken over.
    ///
    /// # Errors
    /// When a service is not installed (the remedy is in the message), a port is taken, or a service
    /// does not come up; whatever was started is stopped again.
    pub async fn start(dir: PathBuf, port_base: u16, which: &[Service]) -> anyhow::Result<Self> {
        Self::launch(dir, port_base, None, which, &[], AtEnd::Keep).await
    }

    /// Starts a fresh set in a temporary directory on free ports; at the end it is killed and its
    /// data deleted.
    ///
    /// # Errors
    /// As for [`Services::start`].
    pub async fn start_private(which: &[Service]) -> anyhow::Result<Self> {
        Self::start_private_with(which, &[]).await
    }

    /// [`Services::start_private`] with settings: the environment variables that are documented at
    /// the top of `services.sh`, such as `RABBITMQ_CONSUMER_TIMEOUT_MS`.
    ///
    /// # Errors
    /// As for [`Services::start`].
    pub async fn start_private_with(
        which: &[Service],
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let range = PortRange::reserve()?;
        let dir = tempfile::Builder::new()
            .prefix("ha-services-")
            .tempdir()?
            .keep();
        Self::launch(dir, range.base, Some(range), which, settings, AtEnd::Wipe).await
    }

    /// The set of [`Service::DEFAULT`] that all tests of this process share: the one that
    /// `services.sh run` started around it, or else a private one that ends with the process.
    /// It may not be stopped: tests that crash services start their own.
    ///
    /// # Errors
    /// As for [`Services::start`]; the next call tries again.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Services> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| async {
                let mut services = match Self::attach()? {
                    Some(services) => services,
                    None => Self::start_private(&Service::DEFAULT).await?,
                };
                services.shared = true;
                Ok(services)
            })
            .await
    }

    /// The set around this process, if it has all of [`Service::DEFAULT`].
    fn attach() -> anyhow::Result<Option<Self>> {
        let Ok(up) = std::env::var("SERVICES_UP") else {
            return Ok(None);
        };
        let is_up = |service: &Service| up.split(' ').any(|name| name == service.name());
        if !Service::DEFAULT.iter().all(is_up) {
            return Ok(None);
        }
        let dir = std::env::var_os("SERVICES_DIR").context("SERVICES_UP without SERVICES_DIR")?;
        let port_base = std::env::var("SERVICES_PORT_BASE")
            .context("SERVICES_UP without SERVICES_PORT_BASE")?
            .parse()
            .context("SERVICES_PORT_BASE")?;
        let dir = PathBuf::from(dir);
        Ok(Some(Self {
            _guard: None,
            _range: None,
            script: Script::install(&dir, port_base, &[])?,
            dir,
            port_base,
            which: Service::DEFAULT.to_vec(),
            client: client::client()?,
            shared: true,
        }))
    }

    async fn launch(
        dir: PathBuf,
        port_base: u16,
        range: Option<PortRange>,
        which: &[Service],
        settings: &[(&str, &str)],
        at_end: AtEnd,
    ) -> anyhow::Result<Self> {
        ensure!(!which.is_empty(), "no service was asked for");
        let script = Script::install(&dir, port_base, settings)?;
        // Before the first start, so that whatever happens from here on has an end.
        let guard = Guard::start(&script, which, at_end)?;
        let services = Self {
            _guard: Some(guard),
            _range: range,
            dir,
            port_base,
            which: which.to_vec(),
            script,
            client: client::client()?,
            shared: false,
        };
        services.start_and_wait(which).await?;
        Ok(services)
    }

    async fn start_and_wait(&self, which: &[Service]) -> anyhow::Result<()> {
        self.command("start", which).await?;
        self.command("wait", which).await
    }

    async fn command(&self, command: &str, which: &[Service]) -> anyhow::Result<()> {
        let mut arguments = vec![command];
        arguments.extend(which.iter().map(|service| service.name()));
        self.script.run(&arguments).await?;
        Ok(())
    }

    /// Commands that others would feel.
    async fn disturb(&self, command: &str, service: Service) -> anyhow::Result<()> {
        if self.shared {
            bail!("{command} {service}: a shared set is left alone; start a private one");
        }
        ensure!(
            self.which.contains(&service),
            "{command} {service}: not of this set"
        );
        self.command(command, &[service]).await
    }

    /// Stops one service in good order, by force after 15 s; returns when it has ended.
    ///
    /// # Errors
    /// When the set is shared or the service is not of it.
    pub async fn stop(&self, service: Service) -> anyhow::Result<()> {
        self.disturb("stop", service).await
    }

    /// Crashes one service (SIGKILL); returns when it has ended.
    ///
    /// # Errors
    /// As for [`Services::stop`].
    pub async fn kill9(&self, service: Service) -> anyhow::Result<()> {
        self.disturb("kill9", service).await
    }

    /// Freezes one service (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// As for [`Services::stop`].
    pub async fn pause(&self, service: Service) -> anyhow::Result<()> {
        self.disturb("pause", service).await
    }

    /// Ends [`Services::pause`].
    ///
    /// # Errors
    /// As for [`Services::stop`].
    pub async fn resume(&self, service: Service) -> anyhow::Result<()> {
        self.disturb("resume", service).await
    }

    /// Starts a service that was stopped or crashed, with its data; returns when it answers.
    ///
    /// # Errors
    /// As for [`Services::stop`], and when it does not come up.
    pub async fn start_again(&self, service: Service) -> anyhow::Result<()> {
        self.disturb("start", service).await?;
        self.command("wait", &[service]).await
    }

    /// Runs RabbitMQ's `rabbitmqctl` on the node of this set and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub async fn rabbitmqctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let arguments: Vec<&str> = [&["rabbitmqctl"], arguments].concat();
        self.script.run(&arguments).await
    }

    /// The process of a service; [`None`] if it was never started or was stopped. After a crash
    /// it is the last one's.
    #[must_use]
    pub fn pid(&self, service: Service) -> Option<u32> {
        let file = self.dir.join(service.name()).join("pid");
        std::fs::read_to_string(file)
            .ok()?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    }

    /// First of the 20 ports of this set.
    #[must_use]
    pub fn port_base(&self) -> u16 {
        self.port_base
    }

    /// Where the services keep their state and their logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// AMQP URL of a virtual host, as the user `guest`.
    #[must_use]
    pub fn amqp_url(&self, vhost: &str) -> String {
        let port = self.port_base + ports::AMQP;
        format!(
            "amqp://guest:guest@127.0.0.1:{port}/{}",
            client::encode(vhost)
        )
    }

    /// RabbitMQ's management API, as `guest` with password `guest`; no path.
    #[must_use]
    pub fn rabbitmq_management_url(&self) -> String {
        self.http_url(ports::MANAGEMENT)
    }

    /// RabbitMQ's Prometheus endpoint without its path (`/metrics`).
    #[must_use]
    pub fn rabbitmq_prometheus_url(&self) -> String {
        self.http_url(ports::RABBITMQ_PROMETHEUS)
    }

    /// InfluxDB with its 1.x API, no authentication.
    #[must_use]
    pub fn influxdb_url(&self) -> String {
        self.http_url(ports::INFLUXDB)
    }

    /// InfluxDB in the shape of the v2 API; needs [`Services::influxdb_token`] and the
    /// organisation [`crate::INFLUXDB_ORG`].
    #[must_use]
    pub fn influxdb_v2_url(&self) -> String {
        self.http_url(ports::INFLUXDB_V2)
    }

    /// Token that [`Services::influxdb_v2_url`] accepts.
    #[must_use]
    pub fn influxdb_token(&self) -> &'static str {
        crate::INFLUXDB_TOKEN
    }

    /// VictoriaMetrics.
    #[must_use]
    pub fn victoria_metrics_url(&self) -> String {
        self.http_url(ports::VICTORIA_METRICS)
    }

    /// Prometheus.
    #[must_use]
    pub fn prometheus_url(&self) -> String {
        self.http_url(ports::PROMETHEUS)
    }

    /// Alertmanager.
    #[must_use]
    pub fn alertmanager_url(&self) -> String {
        self.http_url(ports::ALERTMANAGER)
    }

    /// Mosquitto.
    #[must_use]
    pub fn mqtt_url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port_base + ports::MOSQUITTO)
    }

    /// Home Assistant; needs [`Services::home_assistant_token`].
    #[must_use]
    pub fn home_assistant_url(&self) -> String {
        self.http_url(ports::HOME_ASSISTANT)
    }

    /// The long-lived token of Home Assistant's first user.
    ///
    /// # Errors
    /// When Home Assistant was never up.
    pub fn home_assistant_token(&self) -> anyhow::Result<String> {
        let file = self.dir.join("home-assistant/token");
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    }

    /// The file of Home Assistant's recorder (SQLite): every state that it kept, also of entities
    /// that its API no longer knows.
    #[must_use]
    pub fn home_assistant_recorder(&self) -> PathBuf {
        self.dir.join("home-assistant/config/home-assistant_v2.db")
    }

    fn http_url(&self, offset: u16) -> String {
        format!("http://127.0.0.1:{}", self.port_base + offset)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A name for a virtual host or database that no other test has: `prefix`, time, process and
    /// a counter, of `[a-z0-9_]` after the prefix.
    #[must_use]
    pub fn unique_name(prefix: &str) -> String {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let time_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        format!("{prefix}_{time_ms}_{}_{count}", std::process::id())
    }
}
