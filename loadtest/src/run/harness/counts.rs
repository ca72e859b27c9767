//! What the processes say that they have stored.

use std::time::{Duration, Instant};

use super::Harness;
use crate::run::latency::Latencies;

const LOOK: Duration = Duration::from_millis(250);
/// Looks with the same count in a row.
const SAME: u32 = 4;
const SETTLED_MAX: Duration = Duration::from_secs(30);

impl Harness {
    /// What all running processes have measured so far, with those that have ended.
    pub(in crate::run) async fn latencies_now(&self) -> anyhow::Result<Latencies> {
        let mut latencies = self.latencies.clone();
        for process in &self.processes {
            latencies.add(process, &self.client).await?;
        }
        Ok(latencies)
    }

    /// Before the first event: waits until the producer's own records (what the registries say of
    /// each entity) are stored, so that they are not taken for events afterwards.
    pub(in crate::run) async fn await_records(&mut self) -> anyhow::Result<()> {
        let (begun, mut same) = (Instant::now(), 0);
        while same < SAME && begun.elapsed() < SETTLED_MAX {
            tokio::time::sleep(LOOK).await;
            let stored = self.latencies_now().await?.count();
            same = if stored == self.records { same + 1 } else { 0 };
            self.records = stored;
        }
        Ok(())
    }
}
