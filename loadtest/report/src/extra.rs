//! What only some scenarios report.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::latency::LatencyMs;
use crate::role::Role;

/// Processor seconds in a million events, by role.
pub type CpuPerMillion = BTreeMap<Role, f64>;

/// What only some scenarios report.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Extra {
    /// Of `backlog`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<Backlog>,
    /// Where the bare chain was measured, too.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub beside_bare: Option<BesideBare>,
    /// Of `growth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<BTreeMap<Role, Growth>>,
    /// Of `modes`: a row for each mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Vec<ModeRow>>,
    /// Of `ramp`.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
}

/// How a queue was emptied.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Backlog {
    /// Events that were stored after the workers were started.
    pub events: u64,
    /// Batches in the queue when the workers were started.
    #[serde(rename = "frames_queued")]
    pub batches_queued: Option<u64>,
    /// Worker processes.
    pub workers: usize,
    /// By how much the database answered later.
    pub sink_latency_ms: u64,
    /// From the start of the workers until all were ready.
    pub ready_s: f64,
    /// From the start of the workers until everything was stored.
    pub drain_s: f64,
    /// Events over `drain_s`.
    pub drain_events_per_s: f64,
    /// What an event cost meanwhile.
    pub cpu_s_per_million: CpuPerMillion,
    /// `backlog_seconds` beside what it took, over all samples.
    pub estimate: Option<Estimate>,
    /// Some of the samples.
    pub estimates: Vec<EstimateSample>,
}

/// The ratios of what the workers said to what it took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Estimate {
    /// Number of samples.
    pub looks: usize,
    /// Median ratio.
    pub median: f64,
    /// The ratio that is furthest off, up or down.
    pub worst: f64,
    /// Whether even that is off by a quarter at most.
    pub within_25_percent: bool,
}

/// What the workers said at one moment, and what it took from then on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EstimateSample {
    /// Seconds since the workers were started.
    pub at_s: f64,
    /// Batches in the queue.
    pub queue_depth: u64,
    /// The largest `backlog_seconds` of the workers.
    pub backlog_seconds: f64,
    /// Seconds until everything was stored.
    pub took_s: f64,
}

/// The bare chain, and how the product compares with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BesideBare {
    /// What the bare chain was and did.
    pub bare: Bare,
    /// What the bare chain moved by the criterion of the product.
    #[serde(default)]
    pub bare_events_per_s: Option<f64>,
    /// What it moved with any delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bare_unbounded_events_per_s: Option<f64>,
    /// The product's rate to the bare chain's.
    #[serde(default)]
    pub ratio: Option<f64>,
}

/// Broker and database with no product in between.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Bare {
    /// What it was made of.
    #[serde(flatten)]
    pub parts: BareParts,
    /// Events that were written: of a backlog all of them, of a ramp those without a bound on latency.
    pub events: u64,
    /// Of a backlog: from the subscription to the last write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Of a backlog: what an event cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_s_per_million: Option<CpuPerMillion>,
    /// Of a ramp: as fast as a window of unwritten events lets it, without a bound on latency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbounded_events_per_s: Option<f64>,
    /// Of a ramp: what an event cost meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbounded_cpu_s_per_million: Option<CpuPerMillion>,
    /// Of a ramp: the rates that were tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// What the bare chain was made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BareParts {
    /// Of `publish`, `consume` and `write`, those that the mode and the sink have.
    pub parts: Vec<String>,
    /// Mean bytes of a batch.
    #[serde(rename = "frame_bytes")]
    pub batch_bytes: Option<f64>,
    /// Mean events in a batch.
    #[serde(rename = "frame_events")]
    pub batch_events: Option<f64>,
    /// Mean bytes of a line.
    pub line_bytes: Option<f64>,
    /// Series that the lines belong to.
    pub line_series: Option<usize>,
}

/// The search for the highest rate that holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ramp {
    /// What was sent a second in the best step that held; `None` if none held.
    #[serde(default)]
    pub held_events_per_s: Option<f64>,
    /// When a rate holds, in words.
    #[serde(default)]
    pub criterion: String,
    /// The rates that were tried.
    pub steps: Vec<Step>,
}

/// One rate, tried.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Seconds from the first event on.
    pub at_s: f64,
    /// Events per second that were asked for.
    pub rate: f64,
    /// Events that were sent.
    pub events_sent: u64,
    /// Sent over the time of the step.
    pub events_per_s: f64,
    /// Sent and not stored when the step ended.
    pub under_way: u64,
    /// Latency of the step's events.
    pub latency_ms: Option<LatencyMs>,
    /// From the end of the step until everything was stored. The bare chain does not wait for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_s: Option<f64>,
    /// What an event of the step cost.
    pub cpu_s_per_million: CpuPerMillion,
    /// Whether the rate holds.
    pub holds: bool,
    /// Why it does not.
    pub reasons: Vec<String>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p99 = self.latency_ms.map_or(0.0, |latency| latency.p99);
        let (rate, sent) = (self.rate, self.events_per_s);
        write!(f, "{rate:.0}/s: sent {sent:.0}/s, p99 {p99:.0} ms, ")?;
        match self.reasons.as_slice() {
            [] => f.write_str("holds"),
            reasons => write!(f, "does not hold ({})", reasons.join(", ")),
        }
    }
}

/// What an event costs a role at one rate and at a higher one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Growth {
    /// Processor seconds in a million events at both rates.
    pub cpu_s_per_million: [f64; 2],
    /// The second to the first; `None` if the first is zero.
    pub ratio: Option<f64>,
}

/// What a decision between modes is made by.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModeRow {
    /// The mode.
    pub mode: String,
    /// Latency in that mode.
    pub latency_ms: Option<LatencyMs>,
    /// Of producer and workers together.
    pub product_cpu_s_per_million: f64,
    /// Of broker and database together.
    pub services_cpu_s_per_million: f64,
    /// The producer's largest memory.
    pub producer_rss_mb_max: Option<f64>,
    /// A worker's largest memory.
    pub worker_rss_mb_max: Option<f64>,
    /// Events that were stored.
    pub stored: Option<u64>,
    /// Sent events that were not.
    pub missing: Option<u64>,
    /// Points too many.
    pub duplicates: Option<u64>,
}
