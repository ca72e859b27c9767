//! What the processes say that they have stored, and what they and the services have used.

use std::collections::BTreeMap;

use loadtest_report::{CpuPerMillion, Role, rounded};

use crate::database::Database;
use crate::harness::Harness;
use crate::latency::Latencies;

/// Processor seconds by role.
pub(crate) type CpuSeconds = BTreeMap<Role, f64>;

impl Harness {
    /// Points of live events in the database, or, where they are discarded, what the processes say
    /// that they have written.
    ///
    /// # Errors
    /// When neither the database nor the processes answer.
    pub async fn stored(&self) -> anyhow::Result<u64> {
        if !matches!(*self.database, Database::Nowhere) {
            return self.database.live_points().await;
        }
        Ok(self.latencies_now().await?.count())
    }

    /// What all running processes have measured so far, with those that have ended.
    pub async fn latencies_now(&self) -> anyhow::Result<Latencies> {
        let mut latencies = self.latencies.clone();
        for process in &self.processes {
            latencies.add(process, &self.client).await?;
        }
        Ok(latencies)
    }

    /// Events that they say they have stored; one that is about to be ready, or ended, cannot say.
    pub async fn reported_stored(&self) -> u64 {
        let latencies = self.latencies_now().await;
        latencies.map_or(0, |latencies| latencies.count())
    }

    /// What every role has used so far.
    pub(crate) fn cpu_s(&self) -> CpuSeconds {
        self.usage().sample();
        let roles = Role::ALL.into_iter();
        roles
            .filter_map(|role| Some((role, self.usage().of(role)?.cpu_s)))
            .collect()
    }

    /// What every role has used since, in a million of this many events.
    pub(crate) fn cpu_s_per_million(&self, before: &CpuSeconds, events: u64) -> CpuPerMillion {
        let used = self.cpu_s().into_iter().map(|(role, after)| {
            let used = after - before.get(&role).copied().unwrap_or_default();
            (role, rounded(used * 1e6 / events.max(1) as f64))
        });
        used.collect()
    }
}
