//! Makes each fault, from its beginning to its end.

mod broker;
mod database;
mod home;
mod memory;
mod network;
mod processes;

use std::time::Duration;

use loadtest_engine::harness::Harness;
use loadtest_engine::http_front::Answer;
use loadtest_engine::proxy::Network;
use loadtest_engine::topology::Link;
use loadtest_report::Exit;

use super::context::{Context, Prepared};
use super::fault::FaultName;

/// What must be done before the first event.
pub(super) async fn prepare(harness: &Harness, fault: FaultName) -> anyhow::Result<Prepared> {
    let mut prepared = Prepared::default();
    match fault {
        FaultName::DbDiskFull => prepared.tmpfs = Some(database::on_small_disk(harness).await?),
        FaultName::DbTypeConflict => database::write_other_type(harness).await?,
        _ => {}
    }
    Ok(prepared)
}

impl Context<'_> {
    /// Makes the fault; when this returns, it is over. Returns how processes ended that
    /// were asked to.
    pub(super) async fn inject(
        &mut self,
        fault: FaultName,
        lasts: Duration,
    ) -> anyhow::Result<Vec<Exit>> {
        let mut exits = Vec::new();
        match fault {
            FaultName::BrokerKill => self.crash_broker(lasts).await?,
            FaultName::BrokerRestart => self.restart_broker(lasts).await?,
            FaultName::BrokerPause => self.freeze_broker(lasts).await?,
            FaultName::BrokerMemoryAlarm => self.raise_memory_alarm(lasts).await?,
            FaultName::BrokerQueueFull => exits = self.fill_queue(lasts).await?,
            FaultName::BrokerChannelClose => self.close_channels(lasts).await?,
            FaultName::BrokerPermission => self.take_permissions(lasts).await?,
            FaultName::BrokerLeaderKill => self.kill_leader(lasts).await?,
            FaultName::DbKill | FaultName::DbLongOutage => self.crash_database(lasts).await?,
            FaultName::Db503 => self.answer(Answer::Status(503), lasts).await?,
            FaultName::Db401 => self.answer(Answer::Status(401), lasts).await?,
            FaultName::DbHang => self.answer(Answer::Hang, lasts).await?,
            FaultName::DbDiskFull => self.fill_disk(lasts).await?,
            // It was made before the first event and stays.
            FaultName::DbTypeConflict => self.hold(lasts).await?,
            FaultName::WorkerKillOne => self.kill_workers(1, lasts).await?,
            FaultName::WorkerKillAll => self.kill_workers(usize::MAX, lasts).await?,
            FaultName::WorkerRolling => exits = self.roll_workers().await?,
            FaultName::WorkerOom => exits = self.starve_worker(lasts).await?,
            FaultName::WorkerPoison => self.poison(lasts).await?,
            FaultName::ProducerKill => self.kill_producer(lasts).await?,
            FaultName::ProducerTerm => exits = self.restart_producer(lasts).await?,
            FaultName::ProducerSpoolFull => exits = self.refuse_everything(lasts).await?,
            FaultName::ProducerSpoolTorn => self.tear_spool(lasts).await?,
            FaultName::HaRestart => self.harness.interrupt_home(true, lasts).await?,
            FaultName::HaReset => self.harness.interrupt_home(false, lasts).await?,
            FaultName::HaSlow => self.stutter(lasts).await?,
            FaultName::HaBurst => self.burst(lasts).await?,
            FaultName::HaClock => self.jump_clock(lasts).await?,
            FaultName::NetProducerBroker => {
                self.network(&[Link::ProducerBroker], Network::Cut, lasts)
                    .await?;
            }
            FaultName::NetWorkerBroker => {
                self.network(&[Link::WorkerBroker], Network::Cut, lasts)
                    .await?;
            }
            FaultName::NetWorkerDb => {
                let links = [Link::ProducerDatabase, Link::WorkerDatabase];
                self.network(&links, Network::Cut, lasts).await?;
            }
            FaultName::NetHalfOpen => self.network(&Link::ALL, Network::Silent, lasts).await?,
            FaultName::NetLossy => self.lose_packets(lasts).await?,
            FaultName::AllAtOnce => self.all_at_once(lasts).await?,
        }
        Ok(exits)
    }

    async fn answer(&mut self, answer: Answer, lasts: Duration) -> anyhow::Result<()> {
        self.harness.links().set_answer(answer);
        let held = self.hold(lasts).await;
        self.harness.links().set_answer(Answer::Pass);
        held
    }
}
