//! The producer's settings.

mod service;

use clap::Args;
use ha_enrich::{Depth, ExtraTag, Options};
use ha_filter::Filter;
use ha_settings::{
    AdminArgs, AlertArgs, AttributeArgs, BatchingArgs, BatchingSettings, BrokerArgs, ExtraTagArgs,
    FilterArgs, HomeAssistantArgs, HomeAssistantSettings, InstanceArgs, Problems, SinkArgs,
    SinkChoice, TlsArgs, TlsSettings, WeatherArgs, WeatherSettings, WriteBatchArgs,
    WriteBatchSettings, number,
};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

pub use service::{ServiceArgs, ServiceSettings};

/// Settings of `producer run`, as given.
#[derive(Debug, Args)]
pub struct ProducerArgs {
    /// Where events are enriched: inline (in this process), queue (RabbitMQ and workers), service
    /// (workers over HTTP), or disabled (plain mapping, in this process)
    #[arg(
        long,
        env = "ENRICHMENT_MODE",
        default_value = "inline",
        value_name = "inline|queue|service|disabled"
    )]
    enrichment_mode: String,
    #[command(flatten)]
    instance: InstanceArgs,
    #[command(flatten)]
    home_assistant: HomeAssistantArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    sink: SinkArgs,
    /// Durable file for what cannot be delivered; on a local or block volume, never NFS
    #[arg(
        long,
        env = "SPOOL_PATH",
        default_value = "./spool.db",
        value_name = "FILE",
        help_heading = "Storage"
    )]
    spool_path: PathBuf,
    /// Bytes of events in that file; past it the oldest go, and are counted as lost
    #[arg(
        long,
        env = "SPOOL_BYTES_MAX",
        default_value = "1073741824",
        value_name = "BYTES",
        help_heading = "Storage"
    )]
    spool_bytes_max: String,
    /// In modes queue and service, with a database set: points go straight to it while the broker
    /// or the workers are away
    #[arg(
        long,
        env = "FALLBACK_DIRECT_WRITE",
        default_value = "true",
        value_name = "true|false",
        help_heading = "Storage"
    )]
    fallback_direct_write: String,
    #[command(flatten)]
    batching: BatchingArgs,
    #[command(flatten)]
    batch: WriteBatchArgs,
    #[command(flatten)]
    attributes: AttributeArgs,
    #[command(flatten)]
    extra_tags: ExtraTagArgs,
    /// Seconds between two records of data_quality; for tests
    #[arg(
        long,
        env = "DATA_QUALITY_INTERVAL_S",
        default_value = "60",
        hide = true
    )]
    data_quality_interval_s: String,
    #[command(flatten)]
    weather: WeatherArgs,
    #[command(flatten)]
    alerts: AlertArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// `ENRICHMENT_MODE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Enriched in this process.
    Inline,
    /// Published for the workers.
    Queue,
    /// Handed to the workers over HTTP.
    Service,
    /// Mapped plainly in this process.
    Disabled,
}

impl Mode {
    /// Reads `ENRICHMENT_MODE`; `None` after a problem.
    pub fn read(text: &str, problems: &mut Problems) -> Option<Self> {
        let all = [Self::Inline, Self::Queue, Self::Service, Self::Disabled];
        let found = all.into_iter().find(|mode| mode.as_str() == text);
        if found.is_none() {
            let valid = "inline, queue, service or disabled";
            problems.bad("ENRICHMENT_MODE", text, valid);
        }
        found
    }

    /// The setting's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Queue => "queue",
            Self::Service => "service",
            Self::Disabled => "disabled",
        }
    }
}

/// Where batches go.
#[derive(Debug, Clone)]
pub enum Destination {
    /// To the broker, for the workers.
    Broker {
        /// Its address.
        url: Url,
        /// The database for direct writes while the broker is away, and what is mapped.
        direct: Option<(SinkChoice, Box<Options>)>,
    },
    /// To the workers' intakes over HTTP.
    Service {
        /// The workers.
        workers: ServiceSettings,
        /// The database for direct writes while they are away, and what is mapped.
        direct: Option<(SinkChoice, Box<Options>)>,
    },
    /// Through the stages in this process, to the sink.
    Sink {
        /// The database.
        sink: SinkChoice,
        /// Batches.
        batch: WriteBatchSettings,
        /// What enrichment does.
        enrichment: Box<Options>,
        /// Where the weather comes from.
        weather: Box<WeatherSettings>,
    },
}

/// Settings of `producer run`, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ENRICHMENT_MODE`.
    pub mode: Mode,
    /// The home's name.
    pub instance: String,
    /// Where events come from.
    pub home_assistant: HomeAssistantSettings,
    /// Which are kept.
    pub filter: Filter,
    /// Where they go.
    pub destination: Destination,
    /// Registry facts that become tags, here or at the workers.
    pub extra_tags: Vec<ExtraTag>,
    /// Between two records of the stream's quality.
    pub quality_interval: Duration,
    /// Batches.
    pub batching: BatchingSettings,
    /// The spool's file.
    pub spool_path: PathBuf,
    /// Its limit.
    pub spool_bytes_max: u64,
    /// Where alerts are posted.
    pub alert_webhook_url: Option<Url>,
    /// Certificates.
    pub tls: TlsSettings,
    /// Health, metrics, status.
    pub admin_address: SocketAddr,
    /// How long SIGTERM waits.
    pub grace: Duration,
}

impl ProducerArgs {
    /// Checks everything; `None` after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<Config> {
        // The certificates are read here, and need the process's one crypto provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mode = Mode::read(&self.enrichment_mode, problems);
        let instance = self.instance.resolve(problems);
        let home_assistant = self.home_assistant.resolve(problems);
        let filter = self.filter.resolve(problems);
        let batching = self.batching.resolve(problems);
        let bytes = &self.spool_bytes_max;
        let spool_bytes_max = number(
            problems,
            "SPOOL_BYTES_MAX",
            bytes,
            (4 << 20)..=(1_u64 << 50),
        );
        let extra_tags = self.extra_tags.resolve(problems);
        let interval = &self.data_quality_interval_s;
        let quality_interval_s = number(problems, "DATA_QUALITY_INTERVAL_S", interval, 1..=3_600);
        let destination =
            mode.and_then(|mode| self.destination(mode, &extra_tags, &batching, problems));
        let tls = self.tls.resolve(problems);
        let admin_address = self.admin.resolve_address(problems, "127.0.0.1:8100");
        let grace = self.admin.resolve_grace(problems);
        Some(Config {
            mode: mode?,
            instance,
            home_assistant: home_assistant?,
            filter: filter?,
            destination: destination?,
            extra_tags,
            quality_interval: Duration::from_secs(quality_interval_s),
            batching,
            spool_path: self.spool_path.clone(),
            spool_bytes_max,
            alert_webhook_url: self.alerts.resolve(problems),
            tls: tls?,
            admin_address: admin_address?,
            grace,
        })
    }

    /// The database for direct writes; none if it is not set, or not wanted.
    fn direct(
        &self,
        extra_tags: &[ExtraTag],
        problems: &mut Problems,
    ) -> Option<(SinkChoice, Box<Options>)> {
        match self.fallback_direct_write.as_str() {
            "true" if self.sink.is_set() => {
                let sink = self.sink.resolve(problems, false)?;
                let attributes = self.attributes.resolve(problems);
                let options = attributes.enrichment(Depth::Plain);
                Some((sink, Box::new(with_tags(options, extra_tags))))
            }
            "true" | "false" => None,
            other => {
                problems.bad("FALLBACK_DIRECT_WRITE", other, "true or false");
                None
            }
        }
    }

    /// Asks only for the settings that the mode uses.
    fn destination(
        &self,
        mode: Mode,
        extra_tags: &[ExtraTag],
        batching: &BatchingSettings,
        problems: &mut Problems,
    ) -> Option<Destination> {
        let depth = match mode {
            Mode::Queue => {
                let url = self.broker.resolve(problems);
                let direct = self.direct(extra_tags, problems);
                return Some(Destination::Broker { url: url?, direct });
            }
            Mode::Service => {
                let workers = self.service.resolve(batching, problems);
                let direct = self.direct(extra_tags, problems);
                let workers = workers?;
                return Some(Destination::Service { workers, direct });
            }
            Mode::Inline => Depth::Full,
            Mode::Disabled => Depth::Plain,
        };
        let sink = self.sink.resolve(problems, true);
        let batch = self.batch.resolve(problems);
        let fields = self.attributes.resolve(problems);
        let weather = match depth {
            Depth::Full => self.weather.resolve(problems),
            Depth::Plain => WeatherSettings::none(),
        };
        let enrichment = with_tags(fields.enrichment(depth), extra_tags);
        Some(Destination::Sink {
            sink: sink?,
            batch,
            enrichment: Box::new(weather.fields(enrichment)),
            weather: Box::new(weather),
        })
    }
}

fn with_tags(options: Options, extra_tags: &[ExtraTag]) -> Options {
    Options {
        extra_tags: extra_tags.to_vec(),
        ..options
    }
}
