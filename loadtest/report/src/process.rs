//! How processes started and ended.

use serde::{Deserialize, Serialize};

/// How long a process took until it was ready.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// Its name, such as `worker-2`.
    pub process: String,
    /// From its start to the first `/readyz` with 200.
    pub seconds: f64,
}

/// How a process ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// Its name, such as `worker-2`.
    pub process: String,
    /// `None`: ended by a signal, such as the KILL after the grace.
    pub exit_code: Option<i32>,
    /// From SIGTERM to its end.
    pub seconds: f64,
    /// It had ended before it was asked to.
    pub ended_by_itself: bool,
}
