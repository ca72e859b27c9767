//! What a sink answers.

use std::time::Duration;

/// What became of one attempt to write a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Every point is stored.
    Written,
    /// The database will never take these points; every other one is stored. In order of `index`.
    Rejected(Vec<RejectedPoint>),
    /// Nothing may be assumed stored: write the batch again later.
    Unavailable {
        /// For the log.
        reason: String,
        /// The shortest wait that the database asked for, at most ten minutes.
        retry_after: Option<Duration>,
    },
    /// A setting is wrong, here or at the database. Try again slowly and drop nothing.
    Refused {
        /// What the database said and which setting to look at; holds no secret.
        reason: String,
    },
}

/// A point that the database will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedPoint {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The database's words, cut to about 1 KiB; contains "beyond retention" if that is why.
    pub error: String,
}

/// A sink that would take a write now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The database and where it is, for people; holds no secret.
    pub target: String,
    /// The server's version, where it told.
    pub version: Option<String>,
    /// What was tried and what came back, in order.
    pub steps: Vec<String>,
}

/// A sink that would not take a write now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; {remedy}")]
pub struct ProbeError {
    /// What failed.
    pub reason: String,
    /// What to do about it; names the setting.
    pub remedy: String,
    /// True if it may pass by itself (the database is away), false if a setting must change.
    pub transient: bool,
}
