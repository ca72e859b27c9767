//! `loadtest run burst` and `loadtest run reconnect-storm`: drills with a course of their own, where
//! every event that was fired must be stored at the end.

use std::time::Duration;

use clap::Args;
use ha_settings::{Problems, number, seconds};
use loadtest_engine::plan::{Load, Mode, Plan};
use loadtest_engine::settings::{Defaults, RunArgs};
use loadtest_engine::topology::Topology;
use loadtest_report::Output;

use crate::drill::{DrillPlan, FaultName, Planned, pointless};

const STORMS_MAX: u32 = 10_000;
/// How long connections are down each time.
const DOWN: Duration = Duration::from_millis(300);

/// Settings of `loadtest run burst`, as given.
#[derive(Debug, Args)]
pub struct BurstArgs {
    /// How long the home fires 20 times as much
    #[arg(long, default_value = "10", value_name = "TIME")]
    burst_seconds: String,
    #[command(flatten)]
    run: RunArgs,
}

/// Settings of `loadtest run reconnect-storm`, as given.
#[derive(Debug, Args)]
pub struct StormArgs {
    /// How many times connections are cut, one kind after the other: Home Assistant closes, Home
    /// Assistant resets, the producer's and the workers' to the broker
    #[arg(long, default_value = "20", value_name = "COUNT")]
    times: String,
    #[command(flatten)]
    run: RunArgs,
}

impl BurstArgs {
    /// Checks everything; `None` after a problem. With where the report goes.
    pub fn resolve(&self, problems: &mut Problems) -> Option<(DrillPlan, Output)> {
        let lasts = seconds(problems, "--burst-seconds", &self.burst_seconds);
        let defaults = Defaults {
            workers: "2",
            rate: "200",
            duration: Duration::from_secs(30).max(lasts * 3),
            drain: "300",
        };
        let mut run = self.run.resolve_alone(problems, "a burst", &defaults)?;
        let duration = house(&mut run)?;
        if lasts * 2 > duration {
            problems
                .other("--seconds must be twice --burst-seconds at least: it goes on afterwards");
        }
        let fault = FaultName::HaBurst;
        let at = (duration - lasts.min(duration)) / 3;
        let about = format!("20 times the rate for {} s", lasts.as_secs());
        let flags = format!("--burst-seconds {}", lasts.as_secs());
        let schedule = vec![Planned { fault, at, lasts }];
        let plan = plan("burst", about, &flags, run, schedule);
        problems.is_empty().then(|| (plan, self.run.output()))
    }
}

impl StormArgs {
    /// Checks everything; `None` after a problem. With where the report goes.
    pub fn resolve(&self, problems: &mut Problems) -> Option<(DrillPlan, Output)> {
        let times = number(problems, "--times", &self.times, 1..=STORMS_MAX);
        let defaults = Defaults {
            workers: "2",
            rate: "500",
            duration: Duration::from_secs(60),
            drain: "300",
        };
        let mut run = self
            .run
            .resolve_alone(problems, "a reconnect storm", &defaults)?;
        let duration = house(&mut run)?;
        let kinds: &[FaultName] = match run.mode {
            Mode::Queue => &[
                FaultName::HaRestart,
                FaultName::NetProducerBroker,
                FaultName::HaReset,
                FaultName::NetWorkerBroker,
            ],
            _ => &[FaultName::HaRestart, FaultName::HaReset],
        };
        // The last quarter is left for recovery.
        let step = duration * 3 / 4 / times;
        let schedule = kinds
            .iter()
            .cycle()
            .zip(1..=times)
            .map(|(fault, number)| Planned {
                fault: *fault,
                at: step * number,
                lasts: DOWN.min(step),
            });
        let schedule: Vec<Planned> = schedule.collect();
        let links = schedule
            .iter()
            .flat_map(|planned| planned.fault.row().links);
        run.topology.links = links.copied().collect();
        run.topology.links.sort_unstable();
        run.topology.links.dedup();
        let about = format!("connections are cut {times} times, one kind after the other");
        let plan = plan(
            "reconnect-storm",
            about,
            &format!("--times {times}"),
            run,
            schedule,
        );
        problems.is_empty().then(|| (plan, self.run.output()))
    }
}

fn house(run: &mut Plan) -> Option<Duration> {
    run.topology = Topology::default();
    match run.load {
        Load::House(duration) => Some(duration),
        _ => None,
    }
}

fn plan(
    scenario: &'static str,
    about: String,
    flags: &str,
    run: Plan,
    schedule: Vec<Planned>,
) -> DrillPlan {
    let seconds = match run.load {
        Load::House(duration) => duration.as_secs(),
        _ => 0,
    };
    let (mode, rate) = (run.mode.as_str(), run.rate);
    let mut faults = schedule.iter();
    DrillPlan {
        scenario,
        name: scenario.to_owned(),
        about,
        command: format!(
            "loadtest run {scenario} --mode {mode} --rate {rate} --seconds {seconds} {flags}"
        ),
        pointless: faults.find_map(|planned| pointless(planned.fault, &run)),
        run,
        schedule,
    }
}
