//! The worker's settings.

use crate::run::intake::DeadLettersFile;
use clap::Args;
use ha_enrich::{Depth, Options};
use ha_settings::{
    AdminArgs, AttributeArgs, BrokerArgs, ExtraTagArgs, InstanceArgs, IntakeArgs, IntakeSettings,
    Problems, SinkArgs, SinkChoice, TlsArgs, TlsSettings, WeatherArgs, WeatherSettings,
    WriteBatchArgs, WriteBatchSettings, seconds,
};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Settings of `worker run`, as given.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    intake: IntakeArgs,
    /// The home of events over HTTP that do not say theirs
    #[command(flatten)]
    instance: InstanceArgs,
    /// With INTAKE_ADDR and without AMQP_URL: the file that keeps dead letters; on a local or block
    /// volume, never NFS [default: ./spool.db, or the next of ./spool-2.db … that is free]
    #[arg(
        long,
        env = "SPOOL_PATH",
        value_name = "FILE",
        help_heading = "Storage"
    )]
    spool_path: Option<PathBuf>,
    #[command(flatten)]
    sink: SinkArgs,
    #[command(flatten)]
    batch: WriteBatchArgs,
    /// How long deliveries are held while the database is away, such as 10m: less than RabbitMQ's
    /// consumer_timeout (30 minutes by default)
    #[arg(
        long,
        env = "SINK_HOLD_MAX",
        default_value = "10m",
        value_name = "TIME",
        help_heading = "Batches"
    )]
    sink_hold_max: String,
    #[command(flatten)]
    attributes: AttributeArgs,
    #[command(flatten)]
    weather: WeatherArgs,
    #[command(flatten)]
    extra_tags: ExtraTagArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Settings of `worker run`, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The broker; none when events come over HTTP only.
    pub amqp_url: Option<Url>,
    /// Events over HTTP.
    pub intake: Option<IntakeSettings>,
    /// The home of events over HTTP that do not say theirs.
    pub instance: String,
    /// Where dead letters are kept when there is no broker.
    pub dead_letters_file: DeadLettersFile,
    /// The database.
    pub sink: SinkChoice,
    /// Batches and prefetch.
    pub batch: WriteBatchSettings,
    /// How long deliveries are held while the database is away.
    pub sink_hold: Duration,
    /// What enrichment does.
    pub enrichment: Options,
    /// Where the weather comes from.
    pub weather: WeatherSettings,
    /// Certificates.
    pub tls: TlsSettings,
    /// Health, metrics, status.
    pub admin_address: SocketAddr,
    /// How long SIGTERM waits.
    pub grace: Duration,
}

impl WorkerArgs {
    /// Checks everything; `None` after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<Config> {
        // Read TLS first: it needs the crypto provider, like everything behind it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let intake = self.intake.resolve(problems, ha_http::BODY_BYTES_MAX);
        let instance = if self.intake.is_set() {
            self.instance.resolve(problems)
        } else {
            String::new()
        };
        let with_broker = self.broker.is_set() || !self.intake.is_set();
        let amqp_url = with_broker.then(|| self.broker.resolve(problems));
        let sink = self.sink.resolve(problems, false);
        let batch = self.batch.resolve(problems);
        let sink_hold = seconds(problems, "SINK_HOLD_MAX", &self.sink_hold_max);
        let fields = self.attributes.resolve(problems);
        let weather = self.weather.resolve(problems);
        let mut enrichment = fields.enrichment(Depth::Full);
        enrichment.extra_tags = self.extra_tags.resolve(problems);
        let tls = self.tls.resolve(problems);
        let admin_address = self.admin.resolve_address(problems, "127.0.0.1:8200");
        let grace = self.admin.resolve_grace(problems);
        Some(Config {
            amqp_url: match amqp_url {
                None => None,
                Some(url) => Some(url?),
            },
            intake,
            instance,
            dead_letters_file: DeadLettersFile {
                path: self.spool_path.clone().unwrap_or("./spool.db".into()),
                is_default: self.spool_path.is_none(),
            },
            sink: sink?,
            batch,
            sink_hold,
            enrichment: weather.fields(enrichment),
            weather,
            tls: tls?,
            admin_address: admin_address?,
            grace,
        })
    }
}
