//! What drills do to the parts of a running system.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::future::join_all;
use ha_broker::topology;
use ha_services::{Service, Services};
use loadtest_report::{Exit, Role};
use serde_json::Value;
use tokio::task::JoinHandle;
use url::Url;

use crate::database::Database;
use crate::harness::Harness;
use crate::launches::{dead_letters_path, spool_path};
use crate::links::Links;
use crate::process::{Launch, Process};

impl Harness {
    /// SIGTERM to all processes at once; they are started again and the producer is subscribed
    /// when this returns.
    ///
    /// # Errors
    /// When a process does not come up again.
    pub async fn restart_processes(&mut self) -> anyhow::Result<Vec<Exit>> {
        self.collect_latencies().await;
        let processes = std::mem::take(&mut self.processes);
        let launches: Vec<Launch> = processes
            .iter()
            .map(|process| process.launch().clone())
            .collect();
        let exits = join_all(
            processes
                .into_iter()
                .map(|process| process.terminate(&self.usage)),
        );
        let exits = exits.await;
        self.launch(&launches).await?;
        Ok(exits)
    }

    /// Home Assistant restarts: closed in good order or killed. The producer is subscribed again
    /// when this returns. Gives the number of the connection that ended.
    ///
    /// # Errors
    /// When the producer does not come back.
    pub async fn restart_home(&self, kill: bool, down_for: Duration) -> anyhow::Result<u32> {
        let connection = self.home_stats().connections_accepted;
        if kill {
            self.home().kill(down_for).await?;
        } else {
            self.home().restart(down_for).await?;
        }
        self.home().subscribed().await?;
        Ok(u32::try_from(connection).unwrap_or(u32::MAX))
    }

    /// The proxies.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The services, which must be this run's own.
    pub fn own_services(&self) -> anyhow::Result<&Services> {
        self.services
            .as_ref()
            .context("there are no private services in this run")
    }

    /// A service was started again: it is another process now.
    pub fn watch_service(&self, service: Service) {
        let role = match service {
            Service::RabbitMq => Role::Broker,
            Service::InfluxDb => Role::Database,
            _ => return,
        };
        let pid = self
            .services
            .as_ref()
            .and_then(|services| services.pid(service));
        if let Some(pid) = pid {
            self.usage.watch(role, pid);
        }
    }

    /// The node that leads a queue, of the cluster of this run.
    pub async fn leading_node(&self, vhost: &str, queue: &str) -> anyhow::Result<&Services> {
        let cluster = self
            .cluster
            .as_ref()
            .context("there is no cluster in this run")?;
        cluster.leader(self.own_services()?, vhost, queue).await
    }

    /// The node of the cluster whose ports begin there.
    pub fn node_of(&self, port_base: u16) -> anyhow::Result<&Services> {
        let cluster = self
            .cluster
            .as_ref()
            .context("there is no cluster in this run")?;
        let mut nodes = std::iter::once(self.own_services()?).chain(cluster.others());
        nodes
            .find(|node| node.port_base() == port_base)
            .context("no such node")
    }

    /// The measured time begins, and events are fired at the plan's rate until the handle is stopped.
    #[must_use]
    pub fn fire_on(&self) -> JoinHandle<u64> {
        self.begin();
        self.home().fire_on(self.plan.rate)
    }

    /// The broker's address, past any proxy.
    pub fn amqp_url(&self) -> anyhow::Result<&Url> {
        self.amqp_url
            .as_ref()
            .context("there is no broker in this run")
    }

    /// The virtual host of the processes, which is one of this load tester's own.
    pub fn own_vhost(&self) -> anyhow::Result<String> {
        let path = self.amqp_url()?.path().trim_start_matches('/');
        // Names of this load tester's own virtual hosts need no encoding.
        (!path.is_empty())
            .then(|| path.to_owned())
            .context("no virtual host of our own")
    }

    /// The queue of batches gets a limit (`max-length`, `max-length-bytes`), by a policy of this name.
    pub async fn limit_events_queue(&self, policy: &str, limit: &Value) -> anyhow::Result<()> {
        let vhost = self.own_vhost()?;
        let pattern = format!("^{}$", topology::EVENTS_QUEUE.replace('.', "\\."));
        let limit = limit.to_string();
        let set = ["set_policy", "-p", &vhost, "--apply-to", "queues"];
        let arguments = [&set[..], &[policy, &pattern, &limit]].concat();
        self.own_services()?.rabbitmqctl(&arguments).await?;
        Ok(())
    }

    /// The database, for another task.
    pub fn shared_database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// A setting of the running processes.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let process = self.processes.first()?;
        let mut settings = process.launch().environment.iter();
        let found = settings.rfind(|(set, _)| *set == name)?;
        Some(found.1.as_str())
    }

    /// Files that hold dead letters where there is no broker to keep them.
    pub fn dead_letter_files(&self) -> Vec<PathBuf> {
        let workers = 1..=self.plan.workers_started();
        let workers = workers
            .map(|number| dead_letters_path(self.folder.path(), &format!("worker-{number}")));
        std::iter::once(self.spool_path()).chain(workers).collect()
    }

    /// Where the producer's spool is.
    pub fn spool_path(&self) -> PathBuf {
        spool_path(self.folder.path(), 0)
    }

    /// Names of the running processes of a role.
    pub fn names(&self, role: Role) -> Vec<String> {
        self.processes
            .iter()
            .filter(|process| process.launch().role == role)
            .map(|process| process.name().to_owned())
            .collect()
    }

    /// Kills a process; gives what is needed to start it again.
    pub async fn kill_process(&mut self, name: &str) -> anyhow::Result<Launch> {
        let process = self.take(name)?;
        self.keep_latencies(&process).await;
        let launch = process.launch().clone();
        process.kill(&self.usage).await;
        Ok(launch)
    }

    /// Ends a process by SIGTERM.
    pub async fn terminate_process(&mut self, name: &str) -> anyhow::Result<(Launch, Exit)> {
        let process = self.take(name)?;
        self.keep_latencies(&process).await;
        let launch = process.launch().clone();
        Ok((launch, process.terminate(&self.usage).await))
    }

    /// Restarts the workers one after the other by SIGTERM; each is ready before the next one ends.
    pub async fn roll_workers(&mut self) -> anyhow::Result<Vec<Exit>> {
        let mut exits = Vec::new();
        for name in self.names(Role::Worker) {
            let (launch, exit) = self.terminate_process(&name).await?;
            exits.push(exit);
            self.start_process(&launch)?;
            self.await_ready(&name).await?;
        }
        Ok(exits)
    }

    /// Starts a process; it need not become ready while a fault lasts.
    pub fn start_process(&mut self, launch: &Launch) -> anyhow::Result<()> {
        self.processes.push(launch.start(&self.usage)?);
        Ok(())
    }

    /// Waits until a process is ready.
    pub async fn await_ready(&mut self, name: &str) -> anyhow::Result<()> {
        let client = self.client.clone();
        let process = self.processes.iter_mut().find(|one| one.name() == name);
        let process = process.with_context(|| format!("{name} does not run"))?;
        process.ready(&client).await?;
        Ok(())
    }

    /// Starts processes that have ended by themselves again; their names.
    pub async fn revive(&mut self) -> anyhow::Result<Vec<String>> {
        let mut revived = Vec::new();
        while let Some(at) = self.processes.iter().position(Process::has_ended) {
            let dead = self.processes.remove(at);
            let launch = dead.launch().clone();
            dead.kill(&self.usage).await;
            self.start_process(&launch)?;
            revived.push(launch.name);
        }
        Ok(revived)
    }

    /// Home Assistant restarts in good order (`clean`), or its connections are reset; the producer
    /// need not be back when this returns.
    pub async fn interrupt_home(&self, clean: bool, down_for: Duration) -> anyhow::Result<()> {
        if clean {
            self.home().restart(down_for).await
        } else {
            self.home().kill(down_for).await
        }
    }

    fn take(&mut self, name: &str) -> anyhow::Result<Process> {
        let at = self
            .processes
            .iter()
            .position(|process| process.name() == name);
        let Some(at) = at else {
            bail!("{name} does not run");
        };
        Ok(self.processes.remove(at))
    }

    /// What a process that is about to end has measured; one that cannot answer has measured
    /// nothing that matters.
    async fn keep_latencies(&mut self, process: &Process) {
        let adding = self.latencies.add(process, &self.client);
        let _ = tokio::time::timeout(Duration::from_secs(1), adding).await;
    }
}
