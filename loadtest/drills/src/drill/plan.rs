//! What a drill is: its system, its load, and when which fault is made.

use std::path::PathBuf;
use std::time::Duration;

use loadtest_engine::plan::{Mode, Plan};
use loadtest_report::Output;

use super::fault::{BURST, FaultName};

/// A fault, when it begins (from the first event on) and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) fault: FaultName,
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
}

/// One drill, or a schedule of faults; checked.
#[derive(Debug, Clone)]
pub struct DrillPlan {
    /// `drill` or `soak`.
    pub scenario: &'static str,
    /// The fault's name.
    pub name: String,
    /// What is done.
    pub about: String,
    /// The command line that does it again.
    pub command: String,
    /// The system and its load.
    pub run: Plan,
    /// Why it means nothing here.
    pub pointless: Option<String>,
    pub(crate) schedule: Vec<Planned>,
}

impl DrillPlan {
    /// Whether the faults are faults of something that the mode has.
    pub(super) fn means_something(&self) -> bool {
        let mut faults = self.schedule.iter().map(|planned| planned.fault);
        faults.all(|fault| fault.row().pointless_in(self.run.mode).is_none())
    }

    /// Name of the file of its report.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self.run.mode {
            Mode::Queue => format!("{}.json", self.name),
            mode => format!("{}-{}.json", self.name, mode.as_str()),
        }
    }

    /// Events that should be fired in this time: more in a burst, and less than what a
    /// restart of Home Assistant leaves out.
    pub(super) fn required_events(&self, seconds: f64) -> f64 {
        let lasts = |fault, more: Duration| -> f64 {
            let planned = self
                .schedule
                .iter()
                .filter(|planned| planned.fault == fault);
            planned
                .map(|planned| (planned.lasts + more).as_secs_f64())
                .sum()
        };
        // Closing its connections takes up to three seconds.
        let away_s = lasts(FaultName::HaRestart, Duration::from_secs(3));
        // Of a long schedule the last ones may be left out.
        let burst_s = match self.schedule.as_slice() {
            [_] => lasts(FaultName::HaBurst, Duration::ZERO),
            _ => 0.0,
        };
        self.run.rate * ((seconds - away_s).max(0.0) + burst_s * (BURST - 1.0))
    }
}

/// The drills of a command line.
#[derive(Debug, Clone)]
pub struct Drills {
    /// In their order.
    pub plans: Vec<DrillPlan>,
    /// One report each goes here.
    pub folder: Option<PathBuf>,
    /// The report of a single drill goes here.
    pub output: Output,
}
