//! Whether the process can do its job, and if not, why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a process says of itself between SIGTERM and its end.
const DRAINING: &str = "shutdown: finishing what is held; nothing new is taken";

/// Reasons why the process is not ready, one a part; ready when there are none.
#[derive(Debug, Clone, Default)]
pub struct Health {
    reasons: Arc<Mutex<BTreeMap<&'static str, String>>>,
    shutdown: Arc<OnceLock<CancellationToken>>,
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

    /// From `shutdown` on it is not ready, at once, whatever the parts say. Once a process: the
    /// first one counts.
    pub fn ends_with(&self, shutdown: &CancellationToken) {
        let _ = self.shutdown.set(shutdown.clone());
    }

    /// A part does its job.
    pub fn ready(&self, part: &'static str) {
        self.lock().remove(part);
    }

    /// A part does not, and why.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.lock().insert(part, reason.into());
    }

    /// Follows what is known of a part until nobody tells any more: not ready while there is a
    /// `reason`.
    pub async fn follow<T>(
        self,
        part: &'static str,
        mut state: watch::Receiver<T>,
        reason: impl Fn(&T) -> Option<String>,
    ) {
        loop {
            let reason = reason(&state.borrow_and_update());
            match reason {
                None => self.ready(part),
                Some(reason) => self.not_ready(part, reason),
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    }

    /// `part: reason`, one a part; empty when ready.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let is_draining = || {
            self.shutdown
                .get()?
                .is_cancelled()
                .then(|| DRAINING.to_owned())
        };
        let parts = self.lock();
        let parts = parts
            .iter()
            .map(|(part, reason)| format!("{part}: {reason}"));
        is_draining().into_iter().chain(parts).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
