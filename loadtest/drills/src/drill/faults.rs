//! The faults: a row for each. What makes them is in `inject`.

use std::fmt;
use std::str::FromStr;

use loadtest_engine::topology::Link;

use super::fault::{Fault, FaultName, LONG_OUTAGE, Lasts, Needs, Trace};

const DATABASE: [Link; 2] = [Link::ProducerDatabase, Link::WorkerDatabase];

/// What a row says where it says nothing else.
const fn fault(fault: FaultName) -> Fault {
    Fault {
        fault,
        name: "",
        about: "",
        needs: Needs::Nothing,
        links: &[],
        disturbs_services: false,
        is_drill: true,
        in_soak: true,
        workers: "2",
        from_the_start: false,
        lasts: Lasts::Part(3),
        trace: Trace::Itself,
    }
}

/// In the order of the reference.
static FAULTS: [Fault; 35] = [
    Fault {
        name: "broker-kill",
        about: "RabbitMQ is killed, and started again later",
        needs: Needs::Broker,
        disturbs_services: true,
        trace: Trace::Spool,
        ..fault(FaultName::BrokerKill)
    },
    Fault {
        name: "broker-restart",
        about: "RabbitMQ is stopped in good order, and started again later",
        needs: Needs::Broker,
        disturbs_services: true,
        trace: Trace::Spool,
        ..fault(FaultName::BrokerRestart)
    },
    Fault {
        name: "broker-pause",
        about: "RabbitMQ is frozen (SIGSTOP): connections stay, nothing answers",
        needs: Needs::Broker,
        disturbs_services: true,
        trace: Trace::Lag,
        ..fault(FaultName::BrokerPause)
    },
    Fault {
        name: "broker-memory-alarm",
        about: "RabbitMQ raises its memory alarm and blocks publishers",
        needs: Needs::Broker,
        disturbs_services: true,
        trace: Trace::Spool,
        ..fault(FaultName::BrokerMemoryAlarm)
    },
    Fault {
        name: "broker-queue-full",
        about: "the workers are ended and the queue may hold 50 batches: RabbitMQ rejects the rest",
        needs: Needs::Broker,
        disturbs_services: true,
        trace: Trace::Spool,
        ..fault(FaultName::BrokerQueueFull)
    },
    Fault {
        name: "broker-channel-close",
        about: "RabbitMQ closes every channel with an error, once a second",
        needs: Needs::Broker,
        disturbs_services: true,
        ..fault(FaultName::BrokerChannelClose)
    },
    Fault {
        name: "broker-permission",
        about: "the user loses its permissions and its connections are closed",
        needs: Needs::Broker,
        disturbs_services: true,
        trace: Trace::Spool,
        ..fault(FaultName::BrokerPermission)
    },
    Fault {
        name: "broker-leader-kill",
        about: "of three RabbitMQ nodes the one that leads the queue is killed, and started again later",
        needs: Needs::Broker,
        disturbs_services: true,
        in_soak: false,
        ..fault(FaultName::BrokerLeaderKill)
    },
    Fault {
        name: "db-kill",
        about: "InfluxDB is killed, and started again later",
        disturbs_services: true,
        trace: Trace::Lag,
        ..fault(FaultName::DbKill)
    },
    Fault {
        name: "db-long-outage",
        about: "InfluxDB is away for 120 s; SINK_HOLD_MAX and RabbitMQ's consumer timeout are a fifth of their defaults (2 and 6 minutes) or less; the product asks for the database every 5 s or more often",
        disturbs_services: true,
        in_soak: false,
        lasts: Lasts::Always(LONG_OUTAGE),
        trace: Trace::Lag,
        ..fault(FaultName::DbLongOutage)
    },
    Fault {
        name: "db-503",
        about: "the database answers 503",
        links: &DATABASE,
        trace: Trace::Requests,
        ..fault(FaultName::Db503)
    },
    Fault {
        name: "db-401",
        about: "the database answers 401",
        links: &DATABASE,
        trace: Trace::Requests,
        ..fault(FaultName::Db401)
    },
    Fault {
        name: "db-hang",
        about: "the database takes requests and does not answer",
        links: &DATABASE,
        trace: Trace::Requests,
        ..fault(FaultName::DbHang)
    },
    Fault {
        name: "db-disk-full",
        about: "the file system of the database (a tmpfs of 512 MiB) is filled up; later it is emptied and InfluxDB started again, without which 1.x goes on refusing",
        disturbs_services: true,
        in_soak: false,
        trace: Trace::Lag,
        ..fault(FaultName::DbDiskFull)
    },
    Fault {
        name: "db-type-conflict",
        about: "a field exists with another type, so that the database rejects some points",
        disturbs_services: true,
        in_soak: false,
        from_the_start: true,
        trace: Trace::DeadLetters,
        ..fault(FaultName::DbTypeConflict)
    },
    Fault {
        name: "worker-kill-one",
        about: "one worker is killed, and started again later",
        needs: Needs::Workers,
        workers: "3",
        lasts: Lasts::Moment,
        ..fault(FaultName::WorkerKillOne)
    },
    Fault {
        name: "worker-kill-all",
        about: "all workers are killed, and started again later",
        needs: Needs::Workers,
        workers: "3",
        trace: Trace::Lag,
        ..fault(FaultName::WorkerKillAll)
    },
    Fault {
        name: "worker-rolling",
        about: "one worker after the other is ended by SIGTERM and started again",
        needs: Needs::Workers,
        workers: "3",
        ..fault(FaultName::WorkerRolling)
    },
    Fault {
        name: "worker-oom",
        about: "the kernel kills a worker at the memory limit of its control group",
        needs: Needs::Workers,
        in_soak: false,
        workers: "3",
        ..fault(FaultName::WorkerOom)
    },
    Fault {
        name: "worker-poison",
        about: "one event ends every worker process that looks at it",
        needs: Needs::Suspects,
        in_soak: false,
        workers: "3",
        trace: Trace::DeadLetters,
        ..fault(FaultName::WorkerPoison)
    },
    Fault {
        name: "producer-kill",
        about: "the producer is killed, and started again 2 s later",
        lasts: Lasts::Moment,
        ..fault(FaultName::ProducerKill)
    },
    Fault {
        name: "producer-term",
        about: "the producer is ended by SIGTERM, and started again 2 s later",
        lasts: Lasts::Moment,
        ..fault(FaultName::ProducerTerm)
    },
    Fault {
        name: "producer-spool-full",
        about: "the way out refuses everything (queue full, workers ended, or the database answers 503) for longer than a spool of 4 MiB lasts",
        links: &Link::WAY_OUT,
        disturbs_services: true,
        in_soak: false,
        trace: Trace::Lost,
        ..fault(FaultName::ProducerSpoolFull)
    },
    Fault {
        name: "producer-spool-torn",
        about: "the producer is killed while it spools, and the end of its spool's log is torn off and overwritten with rubbish",
        links: &Link::WAY_OUT,
        in_soak: false,
        trace: Trace::Spool,
        ..fault(FaultName::ProducerSpoolTorn)
    },
    Fault {
        name: "ha-restart",
        about: "Home Assistant restarts: closed in good order, away, back",
        lasts: Lasts::Moment,
        ..fault(FaultName::HaRestart)
    },
    Fault {
        name: "ha-slow",
        about: "Home Assistant's bytes come in fits: 1.5 s nothing, then half a second all of it",
        links: &[Link::HomeProducer],
        ..fault(FaultName::HaSlow)
    },
    Fault {
        name: "ha-burst",
        about: "20 times the rate",
        lasts: Lasts::Burst,
        ..fault(FaultName::HaBurst)
    },
    Fault {
        name: "ha-clock",
        about: "Home Assistant's clock jumps two hours ahead and back",
        in_soak: false,
        ..fault(FaultName::HaClock)
    },
    Fault {
        name: "ha-reset",
        about: "Home Assistant resets all connections and is back at once",
        is_drill: false,
        ..fault(FaultName::HaReset)
    },
    Fault {
        name: "net-producer-broker",
        about: "the network between producer and broker is cut",
        needs: Needs::Broker,
        links: &[Link::ProducerBroker],
        trace: Trace::Spool,
        ..fault(FaultName::NetProducerBroker)
    },
    Fault {
        name: "net-worker-broker",
        about: "the network between workers and broker is cut",
        needs: Needs::Broker,
        links: &[Link::WorkerBroker],
        trace: Trace::Lag,
        ..fault(FaultName::NetWorkerBroker)
    },
    Fault {
        name: "net-worker-db",
        about: "the network between the writing processes and the database is cut",
        links: &DATABASE,
        trace: Trace::Lag,
        ..fault(FaultName::NetWorkerDb)
    },
    Fault {
        name: "net-lossy",
        about: "5 % of all packets on every connection of the product are lost (nftables)",
        links: &Link::ALL,
        in_soak: false,
        ..fault(FaultName::NetLossy)
    },
    Fault {
        name: "net-half-open",
        about: "every connection of the product falls silent for ever, without a reset",
        links: &Link::ALL,
        trace: Trace::Lag,
        ..fault(FaultName::NetHalfOpen)
    },
    Fault {
        name: "all-at-once",
        about: "broker, database, producer and one worker are killed and Home Assistant resets its connection, all at the same moment",
        disturbs_services: true,
        workers: "3",
        lasts: Lasts::Part(10),
        trace: Trace::Lag,
        ..fault(FaultName::AllAtOnce)
    },
];

impl FaultName {
    /// All drills, in the order of the reference.
    pub fn all() -> impl Iterator<Item = Self> {
        let drills = FAULTS.iter().filter(|row| row.is_drill);
        drills.map(|row| row.fault)
    }

    /// The name on the command line and in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// What is known of it.
    pub(crate) fn row(self) -> &'static Fault {
        &FAULTS[self as usize]
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
        Self::all().find(|fault| fault.as_str() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_fault_has_its_row() {
        for (at, row) in FAULTS.iter().enumerate() {
            assert_eq!(row.fault as usize, at, "{}", row.name);
        }
    }

    #[test]
    fn the_names_are_the_reference_s() {
        let reference = include_str!("../../../../docs/reference.md");
        let begin = reference.find("Drills, `loadtest run drill").unwrap();
        let names = reference[begin..].split('`').nth(3).unwrap();
        let ours: Vec<&str> = FaultName::all().map(FaultName::as_str).collect();
        assert_eq!(names.split_whitespace().collect::<Vec<_>>(), ours);
        for fault in FaultName::all() {
            assert_eq!(fault.as_str().parse(), Ok(fault));
        }
    }

    #[test]
    fn every_fault_is_over_well_before_the_run_ends() {
        for fault in FaultName::all() {
            let run = fault.row().run_min().max(Duration::from_secs(10));
            let (begins, lasts) = fault.row().schedule(run);
            assert!(begins + lasts <= run * 9 / 10, "{fault}");
        }
    }
}
