//! A worker that runs out of memory: the kernel kills it at the limit of its control group.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use loadtest_report::{Exit, Role};

use crate::drill::context::Context;
use crate::drill::not_possible::NotPossible;

/// Version 2 of control groups, or the memory controller of version 1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"];
const KILLED_WAIT_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// A control group for one process; removed when it is dropped.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    version: u8,
}

impl Group {
    fn create() -> anyhow::Result<Self> {
        let name = format!("ha-loadtest-{}", std::process::id());
        let mut refused = String::from("there are no control groups");
        for root in ROOTS {
            let root = Path::new(root);
            let path = root.join(&name);
            let version = match root.join("cgroup.controllers").exists() {
                true => 2,
                false => 1,
            };
            if version == 1 && !root.join("memory.limit_in_bytes").exists() {
                continue;
            }
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, version }),
                Err(error) => refused = format!("{}: {error}", path.display()),
            }
        }
        bail!(NotPossible(format!(
            "no control group with a memory limit can be made ({refused}); that needs root"
        )))
    }

    fn write(&self, file: &str, value: &str) -> anyhow::Result<()> {
        let path = self.path.join(file);
        std::fs::write(&path, value).with_context(|| format!("writing {}", path.display()))
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path.join(file)).unwrap_or_default()
    }

    /// Counts what the process takes from now on.
    fn take(&self, pid: u32) -> anyhow::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Allows it no more than it has.
    fn limit(&self) -> anyhow::Result<()> {
        let (usage, limit) = match self.version {
            2 => ("memory.current", "memory.max"),
            _ => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
        };
        self.write(limit, self.read(usage).trim())
    }

    fn state(&self) -> String {
        let files = [
            "memory.usage_in_bytes",
            "memory.limit_in_bytes",
            "memory.current",
            "memory.max",
            "memory.failcnt",
        ];
        let said = files.map(|file| (file, self.read(file).trim().to_owned()));
        let said = said.iter().filter(|(_, value)| !value.is_empty());
        said.map(|(file, value)| format!("{file} {value} "))
            .collect()
    }

    /// Processes that the kernel killed for it.
    fn killed(&self) -> u64 {
        let file = match self.version {
            2 => "memory.events",
            _ => "memory.oom_control",
        };
        let text = self.read(file);
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Best effort: it has no processes any more, or the process is killed first.
        let _ = std::fs::write(self.path.join("cgroup.kill"), "1");
        let _ = std::fs::remove_dir(&self.path);
    }
}

impl Context<'_> {
    /// The first worker is started again in a group of its own (what a process has already when it
    /// comes to a group does not count there), and while it takes up its work it may have no more
    /// than it has.
    pub(super) async fn starve_worker(&mut self, lasts: Duration) -> anyhow::Result<Vec<Exit>> {
        let group = Group::create()?;
        let names = self.harness.names(Role::Worker);
        let name = names.first().context("no worker runs")?.clone();
        let (launch, exit) = self.harness.terminate_process(&name).await?;
        self.harness.start_process(&launch)?;
        let worker = self.harness.process(&name).context("no worker runs")?;
        group.take(worker.pid())?;
        self.harness.await_ready(&name).await?;
        let begun = Instant::now();
        loop {
            // It may give memory back, which is not to be its reserve. A limit that cannot be had
            // for now can be had at the next turn.
            let _ = group.limit();
            let ended = self
                .harness
                .process(&name)
                .is_none_or(|worker| worker.has_ended());
            if ended {
                break;
            }
            if begun.elapsed() > KILLED_WAIT_MAX {
                let state = group.state();
                bail!("the kernel did not kill the worker at its memory limit ({state})");
            }
            tokio::time::sleep(PAUSE).await;
        }
        if group.killed() == 0 {
            bail!("the worker ended before the kernel killed it for its memory");
        }
        let launch = self.harness.kill_process(&name).await?;
        self.hold(lasts.min(Duration::from_secs(2))).await?;
        self.harness.start_process(&launch)?;
        self.harness.await_ready(&name).await?;
        Ok(vec![exit])
    }
}
