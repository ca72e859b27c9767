//! What is known of a fault before it is made.

use std::time::Duration;

use loadtest_engine::plan::Mode;
use loadtest_engine::topology::Link;

/// Which fault. The rows of the table stand in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the table of faults says what each is")]
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
/// How long the long outage lasts.
pub(super) const LONG_OUTAGE: Duration = Duration::from_secs(120);

/// A fault: a row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(super) fault: FaultName,
    /// The name on the command line and in reports.
    pub(super) name: &'static str,
    /// What is done, for people.
    pub(super) about: &'static str,
    /// What a mode must have for the drill to mean anything.
    pub(super) needs: Needs,
    /// Connections that go through a proxy of the load tester.
    pub(crate) links: &'static [Link],
    /// It stops or starts services, so that they must be the drill's own.
    pub(super) disturbs_services: bool,
    /// It is a drill by itself, and not only a part of another scenario.
    pub(super) is_drill: bool,
    /// It can be a part of a random schedule: it needs nothing of its own from the start.
    pub(crate) in_soak: bool,
    /// Worker processes, where nothing else is asked for.
    pub(super) workers: &'static str,
    /// It begins with the run; the others begin after a third of it.
    pub(super) from_the_start: bool,
    /// How long it lasts. The restart of a service comes on top.
    pub(super) lasts: Lasts,
    /// What must be seen of it.
    pub(super) trace: Trace,
}

/// What a mode must have for a drill to mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Broker,
    Workers,
    /// The queue that takes the event which ends workers out of the stream.
    Suspects,
}

/// How long a fault lasts in a run of a given length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    /// A part of the run.
    Part(u32),
    /// A thirtieth, between half a second and two seconds.
    Moment,
    /// A thirtieth, at least half a second.
    Burst,
    /// The same time, whatever the length of the run.
    Always(Duration),
}

/// What must be seen of a fault for the drill to mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trace {
    /// The fault is seen as it is made: a process ended, a setting was taken.
    Itself,
    /// In mode queue events went to the spool; elsewhere events were late.
    Spool,
    /// Events were late.
    Lag,
    /// Requests were answered by the drill.
    Requests,
    /// There are dead letters.
    DeadLetters,
    /// The producer reports events as lost.
    Lost,
}

impl Fault {
    /// When it begins and how long it lasts in a run of the given length.
    pub(super) fn schedule(&self, run: Duration) -> (Duration, Duration) {
        let half_a_second = Duration::from_millis(500);
        let lasts = match self.lasts {
            Lasts::Part(part) => run / part,
            Lasts::Moment => (run / 30).clamp(half_a_second, Duration::from_secs(2)),
            Lasts::Burst => (run / 30).max(half_a_second),
            Lasts::Always(lasts) => lasts,
        };
        match self.from_the_start {
            true => (Duration::ZERO, lasts),
            false => (run / 3, lasts),
        }
    }

    /// The shortest run in which the fault has room.
    pub(super) fn run_min(&self) -> Duration {
        match self.lasts {
            Lasts::Always(lasts) => lasts * 2,
            _ => Duration::from_secs(6),
        }
    }

    /// Why the drill means nothing in the mode; `None` if it does.
    pub(super) fn pointless_in(&self, mode: Mode) -> Option<&'static str> {
        match (self.needs, mode) {
            (_, Mode::Queue) | (Needs::Nothing, _) | (Needs::Workers, Mode::Service) => None,
            (Needs::Broker, _) => Some("there is no broker in this mode"),
            (Needs::Suspects, Mode::Service) => Some("there is no queue of suspects in this mode"),
            (Needs::Workers | Needs::Suspects, _) => Some("there are no workers in this mode"),
        }
    }
}
