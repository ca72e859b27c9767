//! The simulated Home Assistant on threads of its own: what the load tester does beside must not
//! change when events are fired.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ha_simulator::{HouseOptions, Simulator, SimulatorOptions};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::settings::Load;

const THREADS: usize = 2;
/// The producer's longest backoff is 30 s.
const SUBSCRIBED_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct SimulatedHome {
    simulator: Simulator,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl SimulatedHome {
    pub(super) async fn start(entities: usize) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("simulated-home")
            .enable_all()
            .build()?;
        let options = SimulatorOptions {
            house: HouseOptions {
                entities,
                ..HouseOptions::default()
            },
            ..SimulatorOptions::default()
        };
        let started = runtime.spawn(Simulator::start(options)).await;
        let simulator = started?.context("the simulated Home Assistant cannot listen")?;
        Ok(Self {
            simulator,
            runtime: Some(runtime),
        })
    }

    pub(super) fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Fires at the rate; the handle gives the number of fired events.
    pub(super) fn fire(&self, load: Load, rate: f64) -> JoinHandle<u64> {
        let _guard = self.runtime.as_ref().map(Runtime::enter);
        match load {
            Load::House(duration) => self.simulator.run_rate(rate, Some(duration)),
            Load::Capture(capture) => self.simulator.replay(capture, rate, None),
            Load::LoopedCapture(capture, duration) => {
                self.simulator.replay(capture, rate, Some(duration))
            }
        }
    }

    /// Fires at the rate until [`Self::stop_firing`].
    pub(super) fn fire_on(&self, rate: f64) -> JoinHandle<u64> {
        let _guard = self.runtime.as_ref().map(Runtime::enter);
        self.simulator.run_rate(rate, None)
    }

    /// Nothing is fired any more.
    pub(super) fn stop_firing(&self, firing: &JoinHandle<u64>) {
        self.simulator.set_rate(0.0);
        firing.abort();
    }

    /// Home Assistant restarts in good order: closed, away, back.
    pub(super) async fn restart(&self, down_for: Duration) -> anyhow::Result<()> {
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
    pub(super) async fn kill(&self, down_for: Duration) -> anyhow::Result<()> {
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
    pub(super) async fn subscribed(&self) -> anyhow::Result<Duration> {
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
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
