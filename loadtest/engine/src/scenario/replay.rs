//! `loadtest run replay FILE`: a capture at its own pace, or several times as fast.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ha_settings::Problems;
use loadtest_report::Output;

use crate::plan::{Load, Plan};
use crate::settings::{Defaults, RunArgs, replay};

const SPEED_MAX: f64 = 10_000.0;

/// Settings of `loadtest run replay`, as given.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Captured messages or events, one a line (JSON lines); they get times of now, and their
    /// entities only those of the capture
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// So many times as fast as it was captured
    #[arg(long, default_value = "1", value_name = "FACTOR")]
    speed: String,
    #[command(flatten)]
    run: RunArgs,
}

impl ReplayArgs {
    /// Checks everything; `None` after a problem. With where the report goes.
    pub fn resolve(self, problems: &mut Problems) -> Option<(Plan, Output)> {
        let speed = match self.speed.trim().parse::<f64>() {
            Ok(speed) if speed > 0.0 && speed <= SPEED_MAX => speed,
            _ => {
                let valid = format_args!("a factor, up to {SPEED_MAX}");
                problems.bad("--speed", &self.speed, valid);
                1.0
            }
        };
        if self.run.rate.is_some() || self.run.seconds.is_some() {
            problems.other(
                "--rate and --seconds are for `run steady --replay`; `replay` has the capture's \
                 own pace, and --speed",
            );
        }
        let capture = replay(problems, "FILE", Some(&self.file));
        let defaults = Defaults {
            workers: "2",
            rate: "1",
            duration: Duration::from_secs(1),
            drain: "120",
        };
        let mut plan = self.run.resolve_alone(problems, "`replay`", &defaults)?;
        let capture = capture?.at_own_pace(speed);
        plan.rate = capture.events() as f64 / capture.lasts().as_secs_f64().max(1e-3);
        plan.load = Load::PacedCapture(capture);
        problems.is_empty().then(|| (plan, self.run.output()))
    }
}
