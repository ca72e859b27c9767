//! What the processes say that they have stored.

use super::Harness;
use crate::run::latency::Latencies;

impl Harness {
    /// What all running processes have measured so far, with those that have ended.
    pub(in crate::run) async fn latencies_now(&self) -> anyhow::Result<Latencies> {
        let mut latencies = self.latencies.clone();
        for process in &self.processes {
            latencies.add(process, &self.client).await?;
        }
        Ok(latencies)
    }

    /// Events that they say they have stored; one that is about to be ready, or ended, cannot say.
    pub(in crate::run) async fn said_stored(&self) -> u64 {
        let latencies = self.latencies_now().await;
        latencies.map_or(0, |latencies| latencies.count())
    }
}
