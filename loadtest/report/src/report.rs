//! The report: JSON for machines, a table for people.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::latency::LatencyMs;
use crate::process::{Exit, Start};
use crate::series::Sample;

/// Whether the run may be called good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing missing, nothing twice, enough sent, all processes ended well.
    Pass,
    /// The reasons say why.
    Fail,
    /// A drill that cannot be made on this machine or with this system; the reasons say why.
    NotPossible,
}

/// Use of the machine by the processes of one role, while events were fired and stored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProcessUsage {
    /// Seconds of processor time of all its processes, from the first event until they ended.
    pub cpu_s: f64,
    /// The same until the last event was stored.
    pub cpu_s_load: f64,
    /// Largest resident memory of one of them, in megabytes (10^6 bytes).
    pub rss_mb_max: f64,
    /// Mean memory of the last third of the run to that of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_ratio: Option<f64>,
}

/// Something that was done to the system on purpose.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// What, such as `restart`.
    pub fault: &'static str,
    /// Seconds from the first event on.
    pub at_s: f64,
    /// Seconds from the first event on until the fault was over; of a drill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_s: Option<f64>,
    /// Seconds until events flowed again: the producer was subscribed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribed_after_s: Option<f64>,
    /// Events fired meanwhile that no client was subscribed to.
    pub events_not_sent: u64,
    /// How processes ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exits: Vec<Exit>,
}

/// What the simulated Home Assistant saw of the producer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionReport {
    /// Logins over the whole run.
    pub authentications: u64,
    /// What they should be: one, and one more for each restart.
    pub authentications_expected: u64,
    /// Connections at the end.
    pub connections_open: usize,
    /// Subscriptions at the end.
    pub subscriptions: usize,
}

/// The result of a run. Times are seconds or milliseconds as named; `None` is "not known here".
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// As on the command line, such as `steady`.
    pub scenario: &'static str,
    /// Which one of several in the scenario, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// `queue`, `service`, `inline` or `disabled`; of several in different modes, all of them.
    pub mode: String,
    /// Events that were written whole to the socket of the subscribed producer.
    pub events_sent: u64,
    /// Fired events that the database holds with their state.
    pub events_stored: Option<u64>,
    /// Sent events that it does not hold.
    pub missing: Option<u64>,
    /// Points too many for an entity and time.
    pub duplicates: Option<u64>,
    /// Messages that the run added to the dead letters.
    pub dead_lettered: Option<u64>,
    /// From the first event to the last.
    pub seconds: f64,
    /// Sent events over `seconds`.
    pub events_per_s: f64,
    /// Source time to write returned, live events.
    pub latency_ms: Option<LatencyMs>,
    /// The producer.
    pub producer: Option<ProcessUsage>,
    /// All workers.
    pub worker: Option<ProcessUsage>,
    /// This load tester, which shares the processors: simulated homes, and whoever looks.
    pub loadtest: Option<ProcessUsage>,
    /// From the first event until the last one was stored.
    pub load_s: Option<f64>,
    /// Events that were sent in that time.
    pub load_events: Option<u64>,
    /// How long processes took from their start until they were ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<Start>,
    /// RabbitMQ's processor time.
    pub broker_cpu_s: Option<f64>,
    /// InfluxDB's processor time, without the nginx in front of it.
    pub database_cpu_s: Option<f64>,
    /// RabbitMQ's processor time until the last event was stored.
    pub broker_cpu_s_load: Option<f64>,
    /// InfluxDB's.
    pub database_cpu_s_load: Option<f64>,
    /// RabbitMQ's largest resident memory, in megabytes.
    pub broker_rss_mb_max: Option<f64>,
    /// InfluxDB's.
    pub database_rss_mb_max: Option<f64>,
    /// The most batches seen waiting in the queue.
    pub queue_depth_max: Option<u64>,
    /// Of a drill: seconds from the end of the fault until everything fired before was stored, and
    /// queue and spool were empty again.
    pub recovery_s: Option<f64>,
    /// What was done to the system on purpose.
    pub faults: Vec<Fault>,
    /// Pass or fail.
    pub verdict: Verdict,
    /// Why it is a fail; empty for a pass.
    pub reasons: Vec<String>,
    /// What was not looked at, and other remarks.
    pub notes: Vec<String>,
    /// Deliveries of the queue of batches with the mark "redelivered", by the broker's count.
    pub redelivered: Option<u64>,
    /// Batches that were acknowledged and delivered again, by the broker's count. One that a quorum
    /// queue takes back before any client saw it is marked, but not one of these.
    pub redelivered_settled: Option<u64>,
    /// Points that no fired event explains.
    pub unexplained: Option<u64>,
    /// Events that a killed connection may have taken with it.
    pub uncertain: Option<u64>,
    /// Events fired, sent or not.
    pub events_fired: u64,
    /// From the last event until everything sent was stored.
    pub drain_s: f64,
    /// Events per second that were asked for.
    pub rate: f64,
    /// Worker processes.
    pub workers: usize,
    /// Simulated homes, each with a producer.
    pub homes: usize,
    /// `influxdb`, `sqlite` or `null`.
    pub sink: &'static str,
    /// What the simulated Home Assistant saw.
    pub home_assistant: ConnectionReport,
    /// How the processes ended at the end of the run.
    pub exits: Vec<Exit>,
    /// What only a drill has.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillReport>,
    /// What only one scenario has.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
    /// The run over time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Sample>,
    /// Of a scenario that makes several runs: their reports. Counts above are then the sums.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<Report>,
}

impl Report {
    /// All processes that got a SIGTERM.
    pub fn asked_to_end(&self) -> impl Iterator<Item = &Exit> {
        let by_faults = self.faults.iter().flat_map(|fault| &fault.exits);
        self.exits.iter().chain(by_faults)
    }

    /// What is wrong with how they ended.
    pub fn ended_badly(&self) -> impl Iterator<Item = String> {
        let failed = self.asked_to_end().filter(|exit| exit.exit_code != Some(0));
        failed.map(|exit| {
            let code = exit
                .exit_code
                .map_or("a signal".to_owned(), |code| format!("code {code}"));
            format!("{} ended with {code} after SIGTERM", exit.process)
        })
    }
}

/// What a drill reports besides.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DrillReport {
    /// Name of the fault, as on the command line.
    pub drill: String,
    /// What was done.
    pub about: String,
    /// The command that does it again.
    pub command: String,
    /// Processors and memory of the machine.
    pub machine: String,
    /// The most events seen in the producer's spool.
    pub spool_events_max: u64,
    /// The most bytes of batches seen there.
    pub spool_bytes_max: u64,
    /// The most events that were seen not stored a second after they were fired.
    pub late_events_max: u64,
    /// Events that the producer says it has lost.
    pub lost_reported: u64,
    /// Requests that the drill answered in the database's place.
    pub requests_disturbed: u64,
    /// Processes that ended by themselves and were started again, with how often.
    pub revived: BTreeMap<String, u64>,
    /// Dead letters by reason.
    #[serde(rename = "letters")]
    pub dead_letters: BTreeMap<String, u64>,
}
