//! `loadtest run homes`: many simulated Home Assistants, a producer each, one broker.

use std::time::Duration;

use clap::Args;
use ha_settings::{Problems, number};

use super::output::Output;
use super::rig::Rig;
use super::settings::{Defaults, Mode, Plan, RunArgs};

/// Each is a process.
pub(super) const HOMES_MAX: usize = 1_000;

/// Settings of `loadtest run homes`, as given.
#[derive(Debug, Args)]
pub struct HomesArgs {
    /// Simulated Home Assistants, each with a producer process of its own
    #[arg(long, default_value = "20", value_name = "COUNT")]
    homes: String,
    /// Events per second of each home
    #[arg(long, default_value = "20", value_name = "RATE")]
    rate_per_home: String,
    #[command(flatten)]
    run: RunArgs,
}

impl HomesArgs {
    /// Checks everything; `None` after a problem. With where the report goes.
    pub fn resolve(mut self, problems: &mut Problems) -> Option<(Plan, Output)> {
        let homes = number(problems, "--homes", &self.homes, 1..=HOMES_MAX);
        if self.run.rate.is_some() {
            problems.other("--rate is for one home; give --rate-per-home");
        }
        let rate = super::settings::rate_of(problems, "--rate-per-home", &self.rate_per_home);
        self.run.rate = Some((rate * homes as f64).to_string());
        let defaults = Defaults {
            workers: "2",
            rate: "1",
            duration: Duration::from_secs(60),
            drain: "120",
        };
        let mut plan = self.run.resolve_alone(problems, "`homes`", &defaults)?;
        share_among(homes, "homes", &mut plan, problems);
        problems.is_empty().then(|| (plan, self.run.output()))
    }
}

/// So many homes share the load, as `asked` on the command line.
pub(super) fn share_among(homes: usize, asked: &str, plan: &mut Plan, problems: &mut Problems) {
    if plan.mode != Mode::Queue {
        problems.other(format!(
            "`{asked}` is about one broker for all: --mode queue"
        ));
    }
    plan.homes = homes;
    plan.rig = Rig::of_many_homes(&plan.sink);
}
