//! The process that ends the services when their owner ends, however it ends.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Stdio};

use anyhow::Context as _;

use crate::Service;
use crate::script::Script;

/// What becomes of the services' state at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// Stopped in good order, data kept.
    Keep,
    /// Killed, data deleted.
    Wipe,
}

/// Holds the pipe whose closing ends the services; dropping it waits until they have ended.
#[derive(Debug)]
pub(crate) struct Guard {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    pub(crate) fn start(script: &Script, which: &[Service], at_end: AtEnd) -> anyhow::Result<Self> {
        let mut arguments = vec!["guard"];
        if at_end == AtEnd::Wipe {
            arguments.push("--wipe");
        }
        arguments.extend(which.iter().map(|service| service.name()));
        let mut process = script
            .command(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own process group: Ctrl-C ends the owner, and then the guard does its work.
            .process_group(0)
            .spawn()
            .context("starting bash, which the services need")?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Best effort: the script has deadlines of its own, and nobody is left to tell.
        let _ = self.process.wait();
    }
}
