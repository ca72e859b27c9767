//! Whose use of the machine is reported.

use serde::{Deserialize, Serialize};

/// Whose use it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// RabbitMQ.
    Broker,
    /// InfluxDB.
    Database,
    /// This process: the simulated homes and the measuring.
    #[serde(rename = "loadtest")]
    LoadTester,
    /// The producer.
    Producer,
    /// A worker.
    Worker,
}

impl Role {
    /// In the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::Producer,
        Self::Worker,
        Self::Broker,
        Self::Database,
        Self::LoadTester,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Worker => "worker",
            Self::Broker => "broker",
            Self::Database => "database",
            Self::LoadTester => "loadtest",
        }
    }
}
