//! Faults of Home Assistant.

use std::time::{Duration, Instant};

use loadtest_engine::proxy::Network;
use loadtest_engine::topology::Link;

use crate::drill::context::Context;
use crate::drill::fault::BURST;

const STALL: Duration = Duration::from_millis(1_500);
const FLOW: Duration = Duration::from_millis(500);
const JUMP_US: i64 = 2 * 3_600 * 1_000_000;

impl Context<'_> {
    pub(super) async fn stutter(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + lasts;
        let link = [Link::HomeProducer];
        while Instant::now() < until {
            self.harness.links().set_network(&link, Network::Stalled);
            let held = self.hold(STALL).await;
            self.harness.links().set_network(&link, Network::Open);
            held?;
            self.hold(FLOW).await?;
        }
        Ok(())
    }

    pub(super) async fn burst(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let simulator = self.harness.home().simulator().clone();
        simulator.set_rate(self.rate * BURST);
        let held = self.hold(lasts).await;
        simulator.set_rate(self.rate);
        held
    }

    pub(super) async fn jump_clock(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let simulator = self.harness.home().simulator().clone();
        simulator.set_clock_offset_us(JUMP_US);
        let held = self.hold(lasts).await;
        // Times of events rise in any case: they stand until the clock has caught up.
        simulator.set_clock_offset_us(0);
        held
    }
}
