//! A system under a drill, as the code of each fault sees it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use loadtest_engine::harness::Harness;
use loadtest_engine::progress::Progress;

use super::tmpfs::Tmpfs;

const PULSE: Duration = Duration::from_millis(200);

/// What is needed of a fault from the start of the run to its end.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) tmpfs: Option<Tmpfs>,
}

/// A system under a drill.
pub(super) struct Context<'a> {
    pub(super) harness: &'a mut Harness,
    pub(super) progress: &'a Progress,
    pub(super) prepared: &'a Prepared,
    /// Processes that ended by themselves.
    pub(super) revived: &'a mut BTreeMap<String, u64>,
    pub(super) begun: Instant,
    pub(super) rate: f64,
}

impl Context<'_> {
    /// Waits, and starts processes again that end by themselves.
    pub(super) async fn hold(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            self.pulse().await?;
            tokio::time::sleep(PULSE.min(until.saturating_duration_since(Instant::now()))).await;
        }
        Ok(())
    }

    /// What goes on all the time: progress, and the orchestrator.
    pub(super) async fn pulse(&mut self) -> anyhow::Result<()> {
        let (ledger, queues) = (self.harness.ledger(), self.harness.queues());
        let elapsed = self.begun.elapsed().as_secs();
        self.progress.show(|| {
            let waiting = queues.map_or(0, |queues| queues.depth());
            format!(
                "{elapsed:>4} s: fired {}, {waiting} batches waiting",
                ledger.fired()
            )
        });
        for name in self.harness.revive().await? {
            *self.revived.entry(name).or_default() += 1;
        }
        Ok(())
    }
}
