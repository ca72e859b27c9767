//! What each fault is called, and what it does, in words.

use super::FaultName;

impl FaultName {
    pub(super) fn facts(self) -> (&'static str, &'static str) {
        match self {
            Self::BrokerKill => ("broker-kill", "RabbitMQ is killed, and started again later"),
            Self::BrokerRestart => (
                "broker-restart",
                "RabbitMQ is stopped in good order, and started again later",
            ),
            Self::BrokerPause => (
                "broker-pause",
                "RabbitMQ is frozen (SIGSTOP): connections stay, nothing answers",
            ),
            Self::BrokerMemoryAlarm => (
                "broker-memory-alarm",
                "RabbitMQ raises its memory alarm and blocks publishers",
            ),
            Self::BrokerQueueFull => (
                "broker-queue-full",
                "the workers are ended and the queue may hold 50 batches: RabbitMQ rejects the rest",
            ),
            Self::BrokerChannelClose => (
                "broker-channel-close",
                "RabbitMQ closes every channel with an error, once a second",
            ),
            Self::BrokerPermission => (
                "broker-permission",
                "the user loses its permissions and its connections are closed",
            ),
            Self::BrokerLeaderKill => (
                "broker-leader-kill",
                "of three RabbitMQ nodes the one that leads the queue is killed, and started again later",
            ),
            Self::DbKill => ("db-kill", "InfluxDB is killed, and started again later"),
            Self::DbLongOutage => (
                "db-long-outage",
                "InfluxDB is away for 120 s; SINK_HOLD_MAX and RabbitMQ's consumer timeout are a fifth of their defaults (2 and 6 minutes) or less; the product asks for the database every 5 s or more often",
            ),
            Self::Db503 => ("db-503", "the database answers 503"),
            Self::Db401 => ("db-401", "the database answers 401"),
            Self::DbHang => ("db-hang", "the database takes requests and does not answer"),
            Self::DbDiskFull => (
                "db-disk-full",
                "the file system of the database (a tmpfs of 512 MiB) is filled up; later it is emptied and InfluxDB started again, without which 1.x goes on refusing",
            ),
            Self::DbTypeConflict => (
                "db-type-conflict",
                "a field exists with another type, so that the database rejects some points",
            ),
            Self::WorkerKillOne => (
                "worker-kill-one",
                "one worker is killed, and started again later",
            ),
            Self::WorkerKillAll => (
                "worker-kill-all",
                "all workers are killed, and started again later",
            ),
            Self::WorkerRolling => (
                "worker-rolling",
                "one worker after the other is ended by SIGTERM and started again",
            ),
            Self::WorkerOom => (
                "worker-oom",
                "the kernel kills a worker at the memory limit of its control group",
            ),
            Self::WorkerPoison => (
                "worker-poison",
                "one event ends every worker process that looks at it",
            ),
            Self::ProducerKill => (
                "producer-kill",
                "the producer is killed, and started again 2 s later",
            ),
            Self::ProducerTerm => (
                "producer-term",
                "the producer is ended by SIGTERM, and started again 2 s later",
            ),
            Self::ProducerSpoolFull => (
                "producer-spool-full",
                "the way out refuses everything (queue full, workers ended, or the database answers 503) for longer than a spool of 4 MiB lasts",
            ),
            Self::ProducerSpoolTorn => (
                "producer-spool-torn",
                "the producer is killed while it spools, and the end of its spool's log is torn off and overwritten with rubbish",
            ),
            Self::HaRestart => (
                "ha-restart",
                "Home Assistant restarts: closed in good order, away, back",
            ),
            Self::HaSlow => (
                "ha-slow",
                "Home Assistant's bytes come in fits: 1.5 s nothing, then half a second all of it",
            ),
            Self::HaBurst => ("ha-burst", "20 times the rate"),
            Self::HaClock => (
                "ha-clock",
                "Home Assistant's clock jumps two hours ahead and back",
            ),
            Self::HaReset => (
                "ha-reset",
                "Home Assistant resets all connections and is back at once",
            ),
            Self::NetProducerBroker => (
                "net-producer-broker",
                "the network between producer and broker is cut",
            ),
            Self::NetWorkerBroker => (
                "net-worker-broker",
                "the network between workers and broker is cut",
            ),
            Self::NetWorkerDb => (
                "net-worker-db",
                "the network between the writing processes and the database is cut",
            ),
            Self::NetLossy => (
                "net-lossy",
                "5 % of all packets on every connection of the product are lost (nftables)",
            ),
            Self::NetHalfOpen => (
                "net-half-open",
                "every connection of the product falls silent for ever, without a reset",
            ),
            Self::AllAtOnce => (
                "all-at-once",
                "broker, database, producer and one worker are killed and Home Assistant resets its connection, all at the same moment",
            ),
        }
    }
}
