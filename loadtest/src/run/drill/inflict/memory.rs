//! A worker that runs out of memory: the kernel kills it at the limit of its control group.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{NotPossible, Scene};
use crate::run::usage::Role;

/// Version 2 of control groups, or the memory controller of version 1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"];
/// What the worker may still get beyond what it has when the limit comes down, version 1.
const SPARE_BYTES: u64 = 128 * 1024;
const KILLED_WAIT_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// A control group for one process; removed when it is dropped.
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

    /// Takes the process in, with what it has.
    fn take(&self, pid: u32) -> anyhow::Result<()> {
        if self.version == 1 {
            self.write("memory.move_charge_at_immigrate", "3")?;
        }
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Allows it nothing more.
    fn limit(&self) -> anyhow::Result<()> {
        if self.version == 2 {
            return self.write("memory.max", "1048576");
        }
        let used: u64 = self.read("memory.usage_in_bytes").trim().parse()?;
        self.write("memory.limit_in_bytes", &(used + SPARE_BYTES).to_string())
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

impl Scene<'_> {
    pub(super) async fn starve_worker(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let name = self.harness.names(Role::Worker);
        let name = name.first().context("no worker runs")?.clone();
        let worker = self.harness.process(&name).context("no worker runs")?;
        let group = Group::create()?;
        group.take(worker.pid())?;
        let begun = Instant::now();
        group.limit()?;
        loop {
            let ended = self
                .harness
                .process(&name)
                .is_none_or(|worker| worker.has_ended());
            if ended {
                break;
            }
            if begun.elapsed() > KILLED_WAIT_MAX {
                bail!("the kernel did not kill the worker at its memory limit");
            }
            tokio::time::sleep(PAUSE).await;
        }
        if group.killed() == 0 {
            bail!("the worker ended before the kernel killed it for its memory");
        }
        let launch = self.harness.kill_process(&name).await?;
        self.hold(lasts.min(Duration::from_secs(2))).await?;
        self.harness.start_process(&launch)?;
        self.harness.await_ready(&name).await
    }
}
