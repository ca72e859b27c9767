//! The simulated Home Assistant on threads of its own: what the load tester does beside must not
//! change when events are fired.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ha_simulator::{HouseOptions, Ledger, Simulator, SimulatorOptions};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::plan::Load;

const THREADS: usize = 2;
/// The producer's longest backoff is 30 s.
const SUBSCRIBED_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct SimulatedHome {
    simulator: Simulator,
    /// `None` only while it is dropped. All homes of a run share one.
    runtime: Option<Arc<Runtime>>,
}

/// The ledgers of all homes.
#[derive(Debug, Clone)]
pub struct Ledgers(Vec<Arc<Ledger>>);

impl Ledgers {
    pub fn fired(&self) -> u64 {
        self.0.iter().map(|ledger| ledger.fired()).sum()
    }

    pub fn sent(&self) -> u64 {
        self.0.iter().map(|ledger| ledger.sent()).sum()
    }
}

impl FromIterator<Arc<Ledger>> for Ledgers {
    fn from_iter<T: IntoIterator<Item = Arc<Ledger>>>(ledgers: T) -> Self {
        Self(ledgers.into_iter().collect())
    }
}

impl SimulatedHome {
    /// So many homes, no two of them alike.
    pub async fn start(homes: usize, entities: usize) -> anyhow::Result<Vec<Self>> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("simulated-home")
            .enable_all()
            .build()?;
        let runtime = Arc::new(runtime);
        let mut all = Vec::new();
        for seed in 1..=homes {
            let options = SimulatorOptions {
                house: HouseOptions {
                    entities,
                    seed: seed as u64,
                    ..HouseOptions::default()
                },
                ..SimulatorOptions::default()
            };
            let started = runtime.spawn(Simulator::start(options)).await;
            let simulator = started?.context("the simulated Home Assistant cannot listen")?;
            all.push(Self {
                simulator,
                runtime: Some(Arc::clone(&runtime)),
            });
        }
        Ok(all)
    }

    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Fires at the rate; the handle gives the number of fired events.
    pub fn fire(&self, load: Load, rate: f64) -> JoinHandle<u64> {
        let _guard = self.runtime.as_ref().map(|runtime| runtime.enter());
        match load {
            Load::House(duration) => self.simulator.run_rate(rate, Some(duration)),
            Load::Capture(capture) | Load::PacedCapture(capture) => {
                self.simulator.replay(capture, rate, None)
            }
            Load::LoopedCapture(capture, duration) => {
                self.simulator.replay(capture, rate, Some(duration))
            }
        }
    }

    /// Fires at the rate until [`Self::stop_firing`].
    pub fn fire_on(&self, rate: f64) -> JoinHandle<u64> {
        let _guard = self.runtime.as_ref().map(|runtime| runtime.enter());
        self.simulator.run_rate(rate, None)
    }

    /// Nothing is fired any more.
    pub fn stop_firing(&self, firing: &JoinHandle<u64>) {
        self.simulator.set_rate(0.0);
        firing.abort();
    }

    /// Home Assistant restarts in good order: closed, away, back.
    pub async fn restart(&self, down_for: Duration) -> anyhow::Result<()> {
        let simulator = self.simulator.clone();
        let runtime = self
            .runtime
            .as_ref()
            .context("the simulated home has ended")?;
        Ok(runtime
            .spawn(async move { simulator.restart(down_for).await })
            .await??)
    }

    /// Connections are reset; it is back after a while.
    pub async fn kill(&self, down_for: Duration) -> anyhow::Result<()> {
        let simulator = self.simulator.clone();
        let runtime = self
            .runtime
            .as_ref()
            .context("the simulated home has ended")?;
        Ok(runtime
            .spawn(async move { simulator.unreachable(down_for).await })
            .await??)
    }

    /// Waits until a client is subscribed; returns how long that took.
    pub async fn subscribed(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        while self.simulator.stats().subscriptions.is_empty() {
            if begun.elapsed() > SUBSCRIBED_MAX {
                bail!(
                    "the producer did not subscribe within {} s: {:?}",
                    SUBSCRIBED_MAX.as_secs(),
                    self.simulator.stats()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(begun.elapsed())
    }
}

impl Drop for SimulatedHome {
    fn drop(&mut self) {
        // A runtime must not be waited for inside another.
        if let Some(runtime) = self.runtime.take().and_then(Arc::into_inner) {
            runtime.shutdown_background();
        }
    }
}
