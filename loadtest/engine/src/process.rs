//! One process of the system under test: started, found ready, ended by SIGTERM.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use loadtest_report::{Exit, Role, Start, rounded};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::usage::{self, Usage};

/// From the start of a process to its first `/readyz` with 200.
const READY_MAX: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(10);
/// What `SHUTDOWN_GRACE_S` of the started processes is.
pub const GRACE: Duration = Duration::from_secs(25);
/// After the grace a process still closes and ends.
const GRACE_MARGIN: Duration = Duration::from_secs(2);
const LOG_TAIL_LINES: usize = 15;

/// How to start a process, again and again.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Name in reports, such as `worker-2`.
    pub name: String,
    /// Whose use of the machine it counts to.
    pub role: Role,
    /// The binary.
    pub binary: PathBuf,
    /// Environment variables on top of the inherited ones.
    pub environment: Vec<(&'static str, String)>,
    /// Port of its admin address.
    pub admin_port: u16,
    /// Where its standard error goes; a restart appends.
    pub log: PathBuf,
}

/// A running process; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    child: Child,
    pid: u32,
    spawned: Instant,
}

impl Launch {
    /// Starts the process; it is not ready yet.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, usage: &Usage) -> anyhow::Result<Process> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        let mut command = self.command();
        command
            .arg("run")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Its own process group: Ctrl-C is for the load tester, which ends it in good order.
            .process_group(0)
            .kill_on_drop(true);
        for (name, _) in &self.environment {
            // A secret may come from one place only.
            command.env_remove(format!("{name}_FILE"));
        }
        let spawned = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))?;
        let pid = child.id().context("the process ended as it began")?;
        usage.watch(self.role, pid);
        Ok(Process {
            launch: self.clone(),
            child,
            pid,
            spawned,
        })
    }

    /// Through `setpriv` where there is one: then the kernel ends the process even if the load
    /// tester is killed. (It replaces itself by the binary, so the process id is the same.)
    fn command(&self) -> Command {
        let setpriv = Path::new("/usr/bin/setpriv");
        if !setpriv.exists() {
            return Command::new(&self.binary);
        }
        let mut command = Command::new(setpriv);
        command
            .args(["--pdeathsig", "TERM", "--"])
            .arg(&self.binary);
        command
    }
}

impl Process {
    /// As in [`Launch::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// How it was started.
    #[must_use]
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// The URL of a path of its admin address.
    #[must_use]
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.launch.admin_port)
    }

    /// Waits until `/readyz` answers 200; how long that took from its start on, if it is waited for
    /// from there.
    ///
    /// # Errors
    /// When the process ends instead or the deadline passes, with the end of its log.
    pub async fn ready(&mut self, client: &reqwest::Client) -> anyhow::Result<Start> {
        let deadline = Instant::now() + READY_MAX;
        let url = self.admin_url("/readyz");
        let mut said = String::from("no answer");
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended at its start ({status}):\n{}",
                    self.name(),
                    self.log_tail()
                );
            }
            if let Ok(response) = client.get(&url).send().await {
                let ready = response.status().is_success();
                said = response.text().await.unwrap_or_default();
                if ready {
                    return Ok(Start {
                        process: self.name().to_owned(),
                        seconds: rounded(self.spawned.elapsed().as_secs_f64()),
                    });
                }
            }
            if Instant::now() > deadline {
                let (name, said) = (self.name(), said.trim());
                bail!(
                    "{name} was not ready after {} s ({said}):\n{}",
                    READY_MAX.as_secs(),
                    self.log_tail()
                );
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Asks it to end (SIGTERM) and waits; after the grace it is killed.
    pub async fn terminate(mut self, usage: &Usage) -> Exit {
        let begun = Instant::now();
        let running = matches!(self.child.try_wait(), Ok(None));
        if running && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = begun + GRACE + GRACE_MARGIN;
        // An ended process whose status nobody has taken yet still shows what it used.
        while running && !usage::has_ended(self.pid) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        usage.sample();
        if !usage::has_ended(self.pid) {
            let _ = self.child.start_kill();
        }
        let seconds = rounded(begun.elapsed().as_secs_f64());
        let status: Option<ExitStatus> = self.child.wait().await.ok();
        usage.unwatch(self.pid);
        Exit {
            process: self.launch.name.clone(),
            exit_code: status.and_then(|status| status.code()),
            seconds,
            ended_by_itself: !running,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended, by itself or not.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        usage::has_ended(self.pid)
    }

    /// Sends a signal; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.has_ended() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it (SIGKILL), if it has not ended; returns when it has.
    pub async fn kill(mut self, usage: &Usage) {
        usage.sample();
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        usage.unwatch(self.pid);
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.launch.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}
