//! The product's binaries.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::plan::Plan;

/// Where the binaries of the producer and the worker are.
pub(crate) struct Binaries {
    pub(crate) producer: PathBuf,
    pub(crate) worker: PathBuf,
}

impl Binaries {
    /// Finds the binaries that the plan needs.
    ///
    /// # Errors
    /// When one is not there.
    pub(crate) fn find(plan: &Plan) -> anyhow::Result<Self> {
        let folder = match &plan.binaries {
            Some(folder) => folder.clone(),
            None => {
                let own = std::env::current_exe().context("finding this binary")?;
                own.parent().map(PathBuf::from).unwrap_or_default()
            }
        };
        let (producer, worker) = (folder.join("producer"), folder.join("worker"));
        let needed = if plan.workers_started() > 0 { 2 } else { 1 };
        for binary in [&producer, &worker].into_iter().take(needed) {
            if !binary.is_file() {
                bail!(
                    "{} is not there; build the binaries beside this one: cargo build -p producer \
                     -p worker -p loadtest (with --release if this one is a release build)",
                    binary.display()
                );
            }
        }
        Ok(Self { producer, worker })
    }
}
