//! What a run is: settings, checked.

use std::path::PathBuf;
use std::time::Duration;

use ha_settings::{InfluxSettings, TlsSettings};
use ha_simulator::Replay;
use ha_sink::Api;
use url::Url;

use crate::topology::Topology;

/// `ENRICHMENT_MODE` of the producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// RabbitMQ and workers.
    Queue,
    /// Workers over HTTP.
    Service,
    /// In the producer.
    Inline,
    /// Plain mapping in the producer.
    Disabled,
}

impl Mode {
    /// The one that depends on most comes first.
    pub const ALL: [Self; 4] = [Self::Queue, Self::Service, Self::Inline, Self::Disabled];

    /// The setting's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Service => "service",
            Self::Inline => "inline",
            Self::Disabled => "disabled",
        }
    }
}

/// Where points go.
#[derive(Debug, Clone)]
pub enum SinkPlan {
    /// An InfluxDB of this run, written to by the given API.
    PrivateInflux(Api),
    /// An InfluxDB that is there.
    Influx(Box<InfluxSettings>),
    /// A file of this run.
    Sqlite,
    /// Nowhere.
    Null,
}

impl SinkPlan {
    /// The setting's word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::PrivateInflux(_) | Self::Influx(_) => "influxdb",
            Self::Sqlite => "sqlite",
            Self::Null => "null",
        }
    }
}

/// Where batches go.
#[derive(Debug, Clone)]
pub enum BrokerPlan {
    /// The mode needs none.
    None,
    /// A RabbitMQ of this run.
    Private,
    /// A RabbitMQ that is there.
    Given {
        /// With user, password and virtual host.
        amqp_url: Url,
        /// Base URL of its management API.
        management_url: Option<Url>,
    },
}

/// What feeds the system.
#[derive(Debug, Clone)]
pub enum Load {
    /// The simulated house, for this time.
    House(Duration),
    /// A capture, once through.
    Capture(Replay),
    /// A capture at its own pace, once through.
    PacedCapture(Replay),
    /// A capture again and again, for this time.
    LoopedCapture(Replay, Duration),
}

/// Settings of `loadtest run`, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Mode of the producer.
    pub mode: Mode,
    /// Worker processes; used in modes queue and service only.
    pub workers: usize,
    /// Events per second.
    pub rate: f64,
    /// What is fired, and how long.
    pub load: Load,
    /// Simulated homes, each with a producer of its own; the rate is that of all together.
    pub homes: usize,
    /// Entities in each house.
    pub entities: usize,
    /// Where points go.
    pub sink: SinkPlan,
    /// Where batches go.
    pub broker: BrokerPlan,
    /// Certificates for services that are there.
    pub tls: TlsSettings,
    /// When producer and workers are restarted, from the first event on.
    pub restarts_at: Vec<Duration>,
    /// When the workers are restarted one after the other.
    pub rolling_restart_at: Option<Duration>,
    /// How often the simulated Home Assistant restarts.
    pub home_restarts: u32,
    /// The longest wait until everything sent is stored.
    pub drain_max: Duration,
    /// Where logs are kept.
    pub logs: Option<PathBuf>,
    /// Folder of the producer's and the worker's binary; `None`: the one of this binary.
    pub binaries: Option<PathBuf>,
    /// What a drill changes.
    pub topology: Topology,
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
