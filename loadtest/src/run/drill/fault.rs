//! The faults by name, and what each needs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::run::rig::Link;
use crate::run::settings::Mode;

/// Something that is done to a running system on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "`about` says what each is")]
pub enum FaultName {
    BrokerKill,
    BrokerRestart,
    BrokerPause,
    BrokerMemoryAlarm,
    BrokerQueueFull,
    BrokerChannelClose,
    BrokerPermission,
    BrokerLeaderKill,
    DbKill,
    DbLongOutage,
    Db503,
    Db401,
    DbHang,
    DbDiskFull,
    DbTypeConflict,
    WorkerKillOne,
    WorkerKillAll,
    WorkerRolling,
    WorkerOom,
    WorkerPoison,
    ProducerKill,
    ProducerTerm,
    ProducerSpoolFull,
    ProducerSpoolTorn,
    HaRestart,
    HaSlow,
    HaBurst,
    HaClock,
    /// A part of `run reconnect-storm`, and no drill by itself.
    HaReset,
    NetProducerBroker,
    NetWorkerBroker,
    NetWorkerDb,
    NetLossy,
    NetHalfOpen,
    AllAtOnce,
}

/// How many times the rate a burst has.
pub(super) const BURST: f64 = 20.0;
/// The entity whose event ends workers.
pub(super) const POISON_ENTITY: &str = "sensor.drill_poison";
/// How long the long outage lasts, whatever the length of the run.
const LONG_OUTAGE: Duration = Duration::from_secs(120);

/// What must be seen of a fault for the drill to mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trace {
    /// It is seen as it is made: a process ended, a setting was taken.
    Itself,
    /// In mode queue events went to the spool; elsewhere events were late.
    Spool,
    /// Events were late.
    Lag,
    /// Requests were answered by the drill.
    Requests,
    /// There are letters.
    Letters,
    /// The producer reports events as lost.
    Lost,
}

impl FaultName {
    /// In the order of the reference.
    pub const ALL: [Self; 34] = [
        Self::BrokerKill,
        Self::BrokerRestart,
        Self::BrokerPause,
        Self::BrokerMemoryAlarm,
        Self::BrokerQueueFull,
        Self::BrokerChannelClose,
        Self::BrokerPermission,
        Self::BrokerLeaderKill,
        Self::DbKill,
        Self::DbLongOutage,
        Self::Db503,
        Self::Db401,
        Self::DbHang,
        Self::DbDiskFull,
        Self::DbTypeConflict,
        Self::WorkerKillOne,
        Self::WorkerKillAll,
        Self::WorkerRolling,
        Self::WorkerOom,
        Self::WorkerPoison,
        Self::ProducerKill,
        Self::ProducerTerm,
        Self::ProducerSpoolFull,
        Self::ProducerSpoolTorn,
        Self::HaRestart,
        Self::HaSlow,
        Self::HaBurst,
        Self::HaClock,
        Self::NetProducerBroker,
        Self::NetWorkerBroker,
        Self::NetWorkerDb,
        Self::NetLossy,
        Self::NetHalfOpen,
        Self::AllAtOnce,
    ];

    /// The name on the command line and in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.facts().0
    }

    /// What is done, for people.
    #[must_use]
    pub fn about(self) -> &'static str {
        self.facts().1
    }

    fn facts(self) -> (&'static str, &'static str) {
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
                "the workers are ended and the queue may hold 50 frames: RabbitMQ rejects the rest",
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

    /// Connections that go through a proxy of ours in this drill.
    pub(crate) fn links(self) -> &'static [Link] {
        match self {
            Self::Db503 | Self::Db401 | Self::DbHang | Self::NetWorkerDb => {
                &[Link::ProducerDatabase, Link::WorkerDatabase]
            }
            // In mode inline the way out is the database.
            Self::NetProducerBroker => &[Link::ProducerBroker],
            Self::ProducerSpoolFull | Self::ProducerSpoolTorn => &Link::WAY_OUT,
            Self::NetWorkerBroker => &[Link::WorkerBroker],
            Self::HaSlow => &[Link::HomeProducer],
            Self::NetLossy | Self::NetHalfOpen => &Link::ALL,
            _ => &[],
        }
    }

    /// Why the drill means nothing in the mode; `None` if it does.
    pub(super) fn pointless_in(self, mode: Mode) -> Option<&'static str> {
        if mode == Mode::Queue {
            return None;
        }
        let name = self.as_str();
        if name.starts_with("broker-")
            || name == "net-producer-broker"
            || name == "net-worker-broker"
        {
            return Some("there is no broker in this mode");
        }
        if mode == Mode::Service {
            // What ends a worker there is no queue's to take out of the stream.
            return (self == Self::WorkerPoison)
                .then_some("there is no queue of suspects in this mode");
        }
        if name.starts_with("worker-") {
            return Some("there are no workers in this mode");
        }
        None
    }

    /// Whether the fault stops or starts services, so that they must be the drill's own.
    pub(super) fn disturbs_services(self) -> bool {
        matches!(
            self,
            Self::BrokerKill
                | Self::BrokerRestart
                | Self::BrokerPause
                | Self::BrokerMemoryAlarm
                | Self::BrokerQueueFull
                | Self::BrokerChannelClose
                | Self::BrokerPermission
                | Self::BrokerLeaderKill
                | Self::DbKill
                | Self::DbLongOutage
                | Self::DbDiskFull
                | Self::DbTypeConflict
                | Self::ProducerSpoolFull
                | Self::AllAtOnce
        )
    }

    /// Whether it is a part of a random schedule: it needs nothing of its own from the start.
    pub(crate) fn in_soak(self) -> bool {
        !matches!(
            self,
            Self::BrokerLeaderKill
                | Self::DbLongOutage
                | Self::DbDiskFull
                | Self::DbTypeConflict
                | Self::WorkerOom
                | Self::WorkerPoison
                | Self::ProducerSpoolFull
                | Self::ProducerSpoolTorn
                | Self::HaClock
                | Self::NetLossy
        )
    }

    /// Worker processes, where nothing else is asked for.
    pub(super) fn workers_default(self) -> &'static str {
        if self.as_str().starts_with("worker-") || self == Self::AllAtOnce {
            "3"
        } else {
            "2"
        }
    }

    /// When it begins and how long it lasts in a run of the given length. The restart of a service
    /// comes on top.
    pub(super) fn schedule(self, run: Duration) -> (Duration, Duration) {
        let third = run / 3;
        let lasts = match self {
            Self::DbLongOutage => LONG_OUTAGE,
            Self::HaBurst => (run / 30).max(Duration::from_millis(500)),
            Self::ProducerKill | Self::ProducerTerm | Self::HaRestart | Self::WorkerKillOne => {
                (run / 30).clamp(Duration::from_millis(500), Duration::from_secs(2))
            }
            Self::AllAtOnce => run / 10,
            _ => third,
        };
        let begins = match self {
            Self::DbTypeConflict => Duration::ZERO,
            _ => third,
        };
        (begins, lasts)
    }

    /// The shortest run in which the fault has room.
    pub(super) fn run_min(self) -> Duration {
        match self {
            Self::DbLongOutage => LONG_OUTAGE * 2,
            _ => Duration::from_secs(6),
        }
    }

    /// What must be seen of it.
    pub(super) fn trace(self) -> Trace {
        match self {
            Self::BrokerKill
            | Self::BrokerRestart
            | Self::BrokerMemoryAlarm
            | Self::BrokerQueueFull
            | Self::BrokerPermission
            | Self::NetProducerBroker
            | Self::ProducerSpoolTorn => Trace::Spool,
            Self::BrokerPause
            | Self::DbKill
            | Self::DbLongOutage
            | Self::DbDiskFull
            | Self::WorkerKillAll
            | Self::NetWorkerBroker
            | Self::NetWorkerDb
            | Self::NetHalfOpen
            | Self::AllAtOnce => Trace::Lag,
            Self::Db503 | Self::Db401 | Self::DbHang => Trace::Requests,
            Self::DbTypeConflict | Self::WorkerPoison => Trace::Letters,
            Self::ProducerSpoolFull => Trace::Lost,
            _ => Trace::Itself,
        }
    }
}

impl fmt::Display for FaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FaultName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.as_str() == text)
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_the_reference_s() {
        let reference = include_str!("../../../../docs/reference.md");
        let begin = reference.find("Drills, `loadtest run drill").unwrap();
        let names = reference[begin..].split('`').nth(3).unwrap();
        let ours: Vec<&str> = FaultName::ALL.iter().map(|fault| fault.as_str()).collect();
        assert_eq!(names.split_whitespace().collect::<Vec<_>>(), ours);
        for fault in FaultName::ALL {
            assert_eq!(fault.as_str().parse(), Ok(fault));
        }
    }

    #[test]
    fn every_fault_is_over_well_before_the_run_ends() {
        for fault in FaultName::ALL {
            let run = fault.run_min().max(Duration::from_secs(10));
            let (begins, lasts) = fault.schedule(run);
            assert!(begins + lasts <= run * 9 / 10, "{fault}");
        }
    }
}
