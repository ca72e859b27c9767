//! The report: JSON for machines, a table for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::extra::Extra;
use crate::latency::LatencyMs;
use crate::process::{Exit, Start};
use crate::role::Role;
use crate::series::Sample;

/// Whether the run may be called good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing missing, nothing twice, enough sent, all processes ended well.
    Pass,
    /// The reasons say why.
    #[default]
    Fail,
    /// A drill that cannot be made on this machine or with this system; the reasons say why.
    NotPossible,
}

impl Verdict {
    /// Its name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotPossible => "not-possible",
        }
    }
}

/// Use of the machine by the processes of one role, while events were fired and stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessUsage {
    /// Seconds of processor time of all its processes, from the first event until they ended.
    pub cpu_s: f64,
    /// Those until the last event was stored; reports of earlier versions do not have it.
    pub cpu_s_load: Option<f64>,
    /// Largest resident memory of one of them, in megabytes (10^6 bytes).
    pub rss_mb_max: f64,
    /// Mean memory of the last third of the run to that of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_ratio: Option<f64>,
}

/// Something that was done to the system on purpose.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// What, such as `restart`.
    pub fault: String,
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// As on the command line, such as `steady`.
    pub scenario: String,
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
    /// This load tester, which shares the processors: simulated homes and the measuring.
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
    pub sink: String,
    /// What the simulated Home Assistant saw.
    pub home_assistant: ConnectionReport,
    /// How the processes ended at the end of the run.
    pub exits: Vec<Exit>,
    /// What only a drill has.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillReport>,
    /// Processors and memory of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// What only some scenarios have.
    #[serde(flatten)]
    pub extra: Extra,
    /// The run over time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Sample>,
    /// Of a scenario that makes several runs: their reports. Counts above are then the sums.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<Report>,
}

/// What one role has used, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoleFigures {
    /// Seconds of processor time.
    pub cpu_s: Option<f64>,
    /// Seconds of processor time until the last event was stored.
    pub cpu_s_load: Option<f64>,
    /// Largest resident memory of one process, in megabytes.
    pub rss_mb_max: Option<f64>,
    /// Mean memory of the last third of the run to that of the first.
    pub rss_ratio: Option<f64>,
}

impl From<Option<ProcessUsage>> for RoleFigures {
    fn from(usage: Option<ProcessUsage>) -> Self {
        Self {
            cpu_s: usage.map(|usage| usage.cpu_s),
            cpu_s_load: usage.and_then(|usage| usage.cpu_s_load),
            rss_mb_max: usage.map(|usage| usage.rss_mb_max),
            rss_ratio: usage.and_then(|usage| usage.rss_ratio),
        }
    }
}

impl Report {
    /// What a role has used.
    #[must_use]
    pub fn role(&self, role: Role) -> RoleFigures {
        match role {
            Role::Producer => self.producer.into(),
            Role::Worker => self.worker.into(),
            Role::LoadTester => self.loadtest.into(),
            Role::Broker => RoleFigures {
                cpu_s: self.broker_cpu_s,
                cpu_s_load: self.broker_cpu_s_load,
                rss_mb_max: self.broker_rss_mb_max,
                rss_ratio: None,
            },
            Role::Database => RoleFigures {
                cpu_s: self.database_cpu_s,
                cpu_s_load: self.database_cpu_s_load,
                rss_mb_max: self.database_rss_mb_max,
                rss_ratio: None,
            },
        }
    }

    /// What an event costs a role at the second rate of `growth`, to the first.
    #[must_use]
    pub fn growth(&self, role: Role) -> Option<f64> {
        self.extra.growth.as_ref()?.get(&role)?.ratio
    }

    /// The slowest start to readiness of the processes whose name begins so, in seconds.
    #[must_use]
    pub fn slowest_start(&self, role: Role) -> Option<f64> {
        let starts = self.starts.iter();
        let of_role = starts.filter(|start| start.process.starts_with(role.as_str()));
        of_role.map(|start| start.seconds).reduce(f64::max)
    }

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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DrillReport {
    /// Name of the fault, as on the command line.
    pub drill: String,
    /// What was done.
    #[serde(default)]
    pub about: String,
    /// The command that does it again.
    #[serde(default)]
    pub command: String,
    /// The most events seen in the producer's spool.
    #[serde(default)]
    pub spool_events_max: u64,
    /// The most bytes of batches seen there.
    #[serde(default)]
    pub spool_bytes_max: u64,
    /// The most events that were seen not stored a second after they were fired.
    #[serde(default)]
    pub late_events_max: u64,
    /// Events that the producer says it has lost.
    #[serde(default)]
    pub lost_reported: u64,
    /// Requests that the drill answered in the database's place.
    #[serde(default)]
    pub requests_disturbed: u64,
    /// Processes that ended by themselves and were started again, with how often.
    #[serde(default)]
    pub revived: BTreeMap<String, u64>,
    /// Dead letters by reason.
    #[serde(default)]
    #[serde(rename = "letters")]
    pub dead_letters: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Reads a report, writes it again, and looks for everything that was read.
    fn check(report: Value) {
        let read: Report = serde_json::from_value(report.clone()).unwrap();
        let written = serde_json::to_value(read).unwrap();
        for (name, value) in report.as_object().unwrap() {
            assert_eq!(written.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn what_a_drill_reports_is_read_as_it_was_written() {
        check(json!({
            "scenario": "drill", "mode": "queue", "verdict": "not-possible", "recovery_s": 1.5,
            "faults": [{"fault": "db-kill", "at_s": 1.0, "until_s": 2.0, "events_not_sent": 0}],
            "drill": "db-kill", "about": "killed", "command": "loadtest run drill",
            "machine": "2 processors", "spool_events_max": 7, "spool_bytes_max": 8,
            "late_events_max": 9, "lost_reported": 0, "requests_disturbed": 0,
            "revived": {"worker-1": 2}, "letters": {"sink_rejected": 3},
        }));
    }

    #[test]
    fn what_only_some_scenarios_report_is_read_as_it_was_written() {
        let step = json!({"at_s": 0.0, "rate": 10.0, "events_sent": 20, "events_per_s": 10.0,
            "under_way": 0, "latency_ms": null, "cpu_s_per_million": {"loadtest": 1.0},
            "holds": false, "reasons": ["nothing was stored"]});
        let parts = json!(["write"]);
        check(json!({
            "scenario": "ramp", "machine": "2 processors", "held_events_per_s": null,
            "criterion": "holds", "steps": [step], "bare_events_per_s": 5.5,
            "bare_unbounded_events_per_s": 6.5, "ratio": null,
            "bare": {"parts": parts, "frame_bytes": null, "frame_events": null,
                "line_bytes": 120.0, "line_series": 300, "unbounded_events_per_s": 6.5,
                "events": 13, "unbounded_cpu_s_per_million": {"database": 2.0}, "steps": [step]},
        }));
        check(json!({
            "scenario": "backlog",
            "backlog": {"events": 5, "frames_queued": null, "workers": 1, "sink_latency_ms": 0,
                "ready_s": 0.25, "drain_s": 2.0, "drain_events_per_s": 2.5,
                "cpu_s_per_million": {"worker": 8.0}, "estimate": null, "estimates": []},
            "bare_events_per_s": 5.5, "ratio": 0.5,
            "bare": {"parts": parts, "frame_bytes": 9.5, "frame_events": 2.0, "line_bytes": null,
                "line_series": null, "events": 5, "seconds": 1.0,
                "cpu_s_per_million": {"broker": 1.0}},
        }));
        check(json!({
            "scenario": "growth",
            "growth": {"worker": {"cpu_s_per_million": [8.0, 4.0], "ratio": 0.5}},
            "series": [{"t_s": 0.0, "fired": 1, "sent": 1, "stored": 0, "queue_depth": 3,
                "usage": {"producer": {"cpus": 0.2, "rss_mb": 20.0}}}],
        }));
    }

    #[test]
    fn a_report_of_an_earlier_version_lacks_what_came_later() {
        let old = json!({"scenario": "steady", "producer": {"cpu_s": 1.0, "rss_mb_max": 20.0}});
        let read: Report = serde_json::from_value(old).unwrap();
        assert_eq!(read.role(Role::Producer).cpu_s_load, None);
        assert!(read.extra.ramp.is_none() && read.extra.beside_bare.is_none());
        assert!(read.drill.is_none() && read.machine.is_none());
    }
}
