//! Whether the process can do its job, and if not, why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Reasons why the process is not ready, one a part; ready when there are none.
#[derive(Debug, Clone, Default)]
pub struct Health {
    reasons: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Health {
    /// A process that is not ready because it has only just begun with the given parts.
    #[must_use]
    pub fn starting(parts: &[&'static str]) -> Self {
        let health = Self::default();
        for part in parts {
            health.not_ready(part, "starting");
        }
        health
    }

    /// A part does its job.
    pub fn ready(&self, part: &'static str) {
        self.lock().remove(part);
    }

    /// A part does not, and why.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.lock().insert(part, reason.into());
    }

    /// `part: reason`, one a part; empty when ready.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        self.lock()
            .iter()
            .map(|(part, reason)| format!("{part}: {reason}"))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
