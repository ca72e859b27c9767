//! What a scenario changes in a system before it starts: proxies between its parts, and settings.

/// A connection between two parts of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// From Home Assistant.
    HomeProducer,
    /// The producer's to the broker.
    ProducerBroker,
    /// The workers' to the broker.
    WorkerBroker,
    /// The producer's to each worker, in mode service.
    ProducerWorkers,
    /// The producer's to the database.
    ProducerDatabase,
    /// The workers' to the database.
    WorkerDatabase,
}

impl Link {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::HomeProducer,
        Self::ProducerBroker,
        Self::WorkerBroker,
        Self::ProducerWorkers,
        Self::ProducerDatabase,
        Self::WorkerDatabase,
    ];

    /// The producer's delivery path, whatever it is in a mode.
    pub const WAY_OUT: [Self; 3] = [
        Self::ProducerBroker,
        Self::ProducerWorkers,
        Self::ProducerDatabase,
    ];

    pub(crate) fn is_database(self) -> bool {
        matches!(self, Self::ProducerDatabase | Self::WorkerDatabase)
    }
}

/// What a scenario wants to be different.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// Connections that go through proxies.
    pub links: Vec<Link>,
    /// Settings of the producer on top of the others.
    pub producer: Vec<(&'static str, String)>,
    /// Settings of the workers on top of the others.
    pub worker: Vec<(&'static str, String)>,
    /// Settings of private services.
    pub services: Vec<(&'static str, String)>,
    /// RabbitMQ is a cluster of three nodes.
    pub cluster: bool,
    /// Of what is different, what a report must say.
    pub notes: Vec<String>,
}
