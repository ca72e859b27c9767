//! The run over time: what plots are drawn of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::role::Role;

/// One sample. Counts are from the first event on; percentiles are of the events that were stored
/// since the sample before, by the writing processes' own histograms. `None` where no process reports it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Seconds since the first event.
    pub t_s: f64,
    /// Events fired.
    pub fired: u64,
    /// Events written to subscribed clients.
    pub sent: u64,
    /// Events stored, as the writing processes say, with the producer's own records.
    pub stored: u64,
    /// Batches that wait in the broker's queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_depth: Option<u64>,
    /// Events in the producers' spools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool_events: Option<u64>,
    /// The largest of the workers' `backlog_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_seconds: Option<f64>,
    /// Median, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// By role: processors in use since the sample before, and resident memory of the largest
    /// process, in megabytes.
    pub usage: BTreeMap<Role, RoleSample>,
}

/// What the processes of a role use.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RoleSample {
    /// Processors.
    pub cpus: f64,
    /// Megabytes.
    pub rss_mb: f64,
}
