//! Faults of the product's own processes, which are started again as an orchestrator would.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::future::try_join;
use ha_services::Service;
use loadtest_engine::http_front::Answer;
use loadtest_engine::plan::Mode;
use loadtest_engine::proxy::Network;
use loadtest_engine::topology::Link;
use loadtest_report::{Exit, Role};
use rand::RngCore as _;

use crate::drill::context::Context;
use crate::drill::fault::POISON_ENTITY;
use crate::drill::not_possible::NotPossible;

const PRODUCER: &str = "producer";
/// How long an orchestrator takes to start a process again.
const RESTART: Duration = Duration::from_secs(1);
/// Torn off the log of the spool.
const TORN_BYTES: u64 = 9_000;
/// Put in place of what was torn off.
const RUBBISH_BYTES: usize = 5_000;
const SPOOLED_MAX: Duration = Duration::from_secs(60);

impl Context<'_> {
    /// Kills the first `count` workers.
    pub(super) async fn kill_workers(
        &mut self,
        count: usize,
        lasts: Duration,
    ) -> anyhow::Result<()> {
        let mut launches = Vec::new();
        for name in self.harness.names(Role::Worker).iter().take(count) {
            launches.push(self.harness.kill_process(name).await?);
        }
        self.hold(lasts).await?;
        for launch in &launches {
            self.harness.start_process(launch)?;
        }
        for launch in &launches {
            self.harness.await_ready(&launch.name).await?;
        }
        Ok(())
    }

    pub(super) async fn roll_workers(&mut self) -> anyhow::Result<Vec<Exit>> {
        let mut exits = Vec::new();
        for name in self.harness.names(Role::Worker) {
            let (launch, exit) = self.harness.terminate_process(&name).await?;
            exits.push(exit);
            self.harness.start_process(&launch)?;
            self.harness.await_ready(&name).await?;
            self.hold(RESTART).await?;
        }
        Ok(exits)
    }

    /// Fires the one event that ends every worker process that looks at it; these are started
    /// again at once, until the queues have taken it out of the stream.
    pub(super) async fn poison(&mut self, lasts: Duration) -> anyhow::Result<()> {
        if !cfg!(debug_assertions) {
            bail!(NotPossible(
                "what lets an event end a worker is not compiled into release builds; build \
                 producer, worker and loadtest without --release"
                    .to_owned()
            ));
        }
        let now = jiff::Timestamp::now();
        let event = format!(
            r#"{{"event_type":"state_changed","data":{{"entity_id":"{POISON_ENTITY}","old_state":null,
            "new_state":{{"entity_id":"{POISON_ENTITY}","state":"1","attributes":{{}},
            "last_changed":"{now:.6}","last_updated":"{now:.6}",
            "context":{{"id":"drill","parent_id":null,"user_id":null}}}}}},
            "origin":"LOCAL","time_fired":"{now:.6}",
            "context":{{"id":"drill","parent_id":null,"user_id":null}}}}"#
        );
        self.harness.home().simulator().inject_event(&event, true)?;
        self.hold(lasts).await
    }

    pub(super) async fn kill_producer(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let launch = self.harness.kill_process(PRODUCER).await?;
        self.hold(lasts).await?;
        self.harness.start_process(&launch)
    }

    pub(super) async fn restart_producer(&mut self, lasts: Duration) -> anyhow::Result<Vec<Exit>> {
        let (launch, exit) = self.harness.terminate_process(PRODUCER).await?;
        self.hold(lasts).await?;
        self.harness.start_process(&launch)?;
        Ok(vec![exit])
    }

    /// The delivery path refuses explicitly, which leaves no doubt whether a batch got
    /// through: where a connection is cut, the batches under way count as lost and may have arrived.
    pub(super) async fn refuse_everything(&mut self, lasts: Duration) -> anyhow::Result<Vec<Exit>> {
        match self.harness.plan().mode {
            Mode::Queue => self.fill_queue(lasts).await,
            Mode::Service => self.end_workers(lasts).await,
            Mode::Inline | Mode::Disabled => {
                self.answer(Answer::Status(503), lasts).await?;
                Ok(Vec::new())
            }
        }
    }

    /// Ends all workers by SIGTERM and starts them again later.
    pub(super) async fn end_workers(&mut self, lasts: Duration) -> anyhow::Result<Vec<Exit>> {
        let (mut launches, mut exits) = (Vec::new(), Vec::new());
        for name in self.harness.names(Role::Worker) {
            let (launch, exit) = self.harness.terminate_process(&name).await?;
            launches.push(launch);
            exits.push(exit);
        }
        self.hold(lasts).await?;
        for launch in &launches {
            self.harness.start_process(launch)?;
        }
        Ok(exits)
    }

    pub(super) async fn tear_spool(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let way_out = Link::WAY_OUT;
        self.harness.links().set_network(&way_out, Network::Cut);
        let spooling = Instant::now();
        let log = self.spool_log();
        self.hold(lasts / 2).await?;
        while std::fs::metadata(&log).map_or(0, |log| log.len()) < 2 * TORN_BYTES {
            if spooling.elapsed() > SPOOLED_MAX {
                bail!("the spool's log stays too short to be torn");
            }
            self.hold(Duration::from_millis(100)).await?;
        }
        let launch = self.harness.kill_process(PRODUCER).await?;
        tear(&log).with_context(|| format!("tearing {}", log.display()))?;
        self.hold(RESTART).await?;
        self.harness.start_process(&launch)?;
        self.hold(lasts / 2).await?;
        self.harness.links().set_network(&way_out, Network::Open);
        Ok(())
    }

    pub(super) async fn all_at_once(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let has_broker = self.harness.amqp_url().is_ok();
        let mut launches = vec![self.harness.kill_process(PRODUCER).await?];
        if let Some(worker) = self.harness.names(Role::Worker).first() {
            launches.push(self.harness.kill_process(worker).await?);
        }
        {
            let services = self.harness.own_services()?;
            let broker = async {
                if has_broker {
                    services.kill9(Service::RabbitMq).await?;
                }
                anyhow::Ok(())
            };
            try_join(broker, services.kill9(Service::InfluxDb)).await?;
        }
        self.harness.interrupt_home(false, RESTART).await?;
        for launch in &launches {
            self.harness.start_process(launch)?;
        }
        self.hold(lasts).await?;
        if has_broker {
            self.start(Service::RabbitMq).await?;
        }
        self.start(Service::InfluxDb).await
    }

    fn spool_log(&self) -> PathBuf {
        let mut path = self.harness.spool_path().into_os_string();
        path.push("-wal");
        path.into()
    }
}

/// Tears off the end of a file and puts rubbish there, less than was torn off.
fn tear(path: &PathBuf) -> std::io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let length = file.metadata()?.len().saturating_sub(TORN_BYTES);
    file.set_len(length)?;
    let mut rubbish = vec![0; RUBBISH_BYTES];
    rand::rng().fill_bytes(&mut rubbish);
    file.seek(SeekFrom::End(0))?;
    file.write_all(&rubbish)?;
    file.sync_all()
}
