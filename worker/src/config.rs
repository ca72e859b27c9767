//! The worker's settings.

use clap::Args;
use ha_enrich::{Depth, Options};
use ha_settings::{
    AdminArgs, AttributeArgs, BatchArgs, BatchSettings, BrokerArgs, Problems, SinkArgs, SinkChoice,
    TlsArgs, TlsSettings, WeatherArgs, WeatherSettings, seconds,
};
use std::net::SocketAddr;
use std::time::Duration;
use url::Url;

/// Settings of `worker run`, as given.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    sink: SinkArgs,
    #[command(flatten)]
    batch: BatchArgs,
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
    tls: TlsArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Settings of `worker run`, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The broker.
    pub amqp_url: Url,
    /// The database.
    pub sink: SinkChoice,
    /// Batches and prefetch.
    pub batch: BatchSettings,
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
        let amqp_url = self.broker.resolve(problems);
        let sink = self.sink.resolve(problems, false);
        let batch = self.batch.resolve(problems);
        let sink_hold = seconds(problems, "SINK_HOLD_MAX", &self.sink_hold_max);
        let fields = self.attributes.resolve(problems);
        let weather = self.weather.resolve(problems);
        let enrichment = ha_assembly::enrichment(Depth::Full, fields);
        let tls = self.tls.resolve(problems);
        let admin_address = self.admin.resolve_address(problems, "127.0.0.1:8200");
        let grace = self.admin.resolve_grace(problems);
        Some(Config {
            amqp_url: amqp_url?,
            sink: sink?,
            batch,
            sink_hold,
            enrichment: ha_assembly::weather_fields(enrichment, &weather),
            weather,
            tls: tls?,
            admin_address: admin_address?,
            grace,
        })
    }
}
