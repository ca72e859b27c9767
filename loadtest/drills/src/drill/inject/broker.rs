//! Faults of RabbitMQ.

use std::time::{Duration, Instant};

use anyhow::bail;
use ha_broker::topology;
use ha_services::Service;
use loadtest_report::Exit;
use serde_json::json;

use crate::drill::context::Context;

/// As `services.sh` sets it.
const WATERMARK: [&str; 3] = ["set_vm_memory_high_watermark", "absolute", "1GB"];
/// Below what any RabbitMQ uses.
const WATERMARK_NOTHING: [&str; 2] = ["set_vm_memory_high_watermark", "0.0001"];
const ALARM_WAIT_MAX: Duration = Duration::from_secs(20);
const CHANNELS_INTERVAL: Duration = Duration::from_secs(1);
const QUEUE_BATCHES_MAX: u32 = 50;
const POLICY: &str = "drill-queue-full";

impl Context<'_> {
    pub(super) async fn crash_broker(&mut self, lasts: Duration) -> anyhow::Result<()> {
        self.harness
            .own_services()?
            .kill9(Service::RabbitMq)
            .await?;
        self.hold(lasts).await?;
        self.start(Service::RabbitMq).await
    }

    pub(super) async fn restart_broker(&mut self, lasts: Duration) -> anyhow::Result<()> {
        self.harness.own_services()?.stop(Service::RabbitMq).await?;
        self.hold(lasts).await?;
        self.start(Service::RabbitMq).await
    }

    pub(super) async fn freeze_broker(&mut self, lasts: Duration) -> anyhow::Result<()> {
        self.harness
            .own_services()?
            .pause(Service::RabbitMq)
            .await?;
        let held = self.hold(lasts).await;
        self.harness
            .own_services()?
            .resume(Service::RabbitMq)
            .await?;
        held
    }

    pub(super) async fn raise_memory_alarm(&mut self, lasts: Duration) -> anyhow::Result<()> {
        self.rabbitmqctl(&WATERMARK_NOTHING).await?;
        let deadline = Instant::now() + ALARM_WAIT_MAX;
        let services = self.harness.own_services()?;
        // The health check fails while there is an alarm.
        let alarms = "health/checks/local-alarms";
        while services
            .management(reqwest::Method::GET, alarms, None)
            .await
            .is_ok()
        {
            if Instant::now() > deadline {
                bail!("RabbitMQ raised no memory alarm");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let held = self.hold(lasts).await;
        self.rabbitmqctl(&WATERMARK).await?;
        held
    }

    pub(super) async fn fill_queue(&mut self, lasts: Duration) -> anyhow::Result<Vec<Exit>> {
        let vhost = self.harness.own_vhost()?;
        let limit = json!({"max-length": QUEUE_BATCHES_MAX});
        self.harness.limit_events_queue(POLICY, &limit).await?;
        // What a worker was handed does not count as in the queue, frozen or not.
        let exits = self.end_workers(lasts).await?;
        self.rabbitmqctl(&["clear_policy", "-p", &vhost, POLICY])
            .await?;
        Ok(exits)
    }

    pub(super) async fn close_channels(&mut self, lasts: Duration) -> anyhow::Result<()> {
        // A method that fails, given to every channel as if its client had sent it: RabbitMQ
        // answers with channel.close 404.
        let expression = "[rabbit_channel:do(Channel, {'queue.declare', 0, <<\"drill-not-there\">>, \
                          true, false, false, false, false, []}) || Channel <- rabbit_channel:list()], \
                          length(rabbit_channel:list()).";
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            let closed = self.rabbitmqctl(&["eval", expression]).await?;
            anyhow::ensure!(
                closed.trim().parse::<u32>().is_ok(),
                "RabbitMQ did not close its channels: {closed}"
            );
            self.hold(CHANNELS_INTERVAL).await?;
        }
        Ok(())
    }

    pub(super) async fn take_permissions(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let vhost = self.harness.own_vhost()?;
        let user = self.harness.amqp_url()?.username().to_owned();
        self.rabbitmqctl(&["clear_permissions", "-p", &vhost, &user])
            .await?;
        // A channel remembers for a while what it was allowed.
        let closing = ["close_all_connections", "-p", &vhost, "drill"];
        self.rabbitmqctl(&closing).await?;
        let held = self.hold(lasts).await;
        let everything = ["set_permissions", "-p", &vhost, &user, ".*", ".*", ".*"];
        self.rabbitmqctl(&everything).await?;
        held
    }

    pub(super) async fn kill_leader(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let vhost = self.harness.own_vhost()?;
        let queue = topology::EVENTS_QUEUE;
        let port = {
            let leader = self.harness.leading_node(&vhost, queue).await?;
            leader.kill9(Service::RabbitMq).await?;
            leader.port_base()
        };
        self.hold(lasts).await?;
        let node = self.harness.node_of(port)?;
        node.start_again(Service::RabbitMq).await
    }

    pub(super) async fn start(&mut self, service: Service) -> anyhow::Result<()> {
        self.harness.own_services()?.start_again(service).await?;
        self.harness.watch_service(service);
        Ok(())
    }

    async fn rabbitmqctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.harness.own_services()?.rabbitmqctl(arguments).await
    }
}
