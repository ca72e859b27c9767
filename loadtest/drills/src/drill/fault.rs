//! The faults by name, and what each needs.

mod facts;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use loadtest_engine::plan::Mode;
use loadtest_engine::topology::Link;

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
