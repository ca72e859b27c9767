//! `loadtest run soak`: faults at random while events flow; the seed makes the same schedule again.

use std::time::Duration;

use clap::Args;
use ha_settings::{Problems, number};
use loadtest_engine::plan::Load;
use loadtest_engine::settings::{Defaults, RunArgs};
use loadtest_engine::topology::{Link, Topology};
use loadtest_report::Output;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::drill::{DrillPlan, FaultName, Planned, pointless};

/// The system is left alone at the beginning.
const QUIET_FIRST: Duration = Duration::from_secs(3);
/// Between two faults.
const QUIET_S: std::ops::RangeInclusive<u64> = 2..=15;
/// At the end.
const QUIET_LAST: Duration = Duration::from_secs(10);
const LASTS_S: std::ops::RangeInclusive<u64> = 1..=15;

/// Settings of `loadtest run soak`, as given.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// The schedule's seed; unset: one by chance, which the report names
    #[arg(long, value_name = "NUMBER")]
    seed: Option<String>,
    #[command(flatten)]
    run: RunArgs,
}

impl SoakArgs {
    /// Checks everything; `None` after a problem. With where the report goes.
    pub fn resolve(&self, problems: &mut Problems) -> Option<(DrillPlan, Output)> {
        let seed = match &self.seed {
            Some(seed) => number(problems, "--seed", seed, 0..=u64::MAX),
            None => rand::random_range(0..1_000_000_000),
        };
        let defaults = Defaults {
            workers: "3",
            rate: "1000",
            duration: Duration::from_secs(600),
            drain: "300",
        };
        let mut run = self.run.resolve_alone(problems, "a soak", &defaults)?;
        let Load::House(duration) = run.load else {
            return None;
        };
        run.topology = Topology {
            links: Link::ALL.into(),
            ..Topology::default()
        };
        let faults: Vec<FaultName> = FaultName::all()
            .filter(|fault| fault.row().in_soak && pointless(*fault, &run).is_none())
            .collect();
        let schedule = schedule(&faults, duration, seed);
        let plan = DrillPlan {
            scenario: "soak",
            name: "soak".to_owned(),
            about: format!("{} faults by chance, seed {seed}", schedule.len()),
            command: format!(
                "loadtest run soak --seed {seed} --mode {} --rate {} --seconds {}",
                run.mode.as_str(),
                run.rate,
                duration.as_secs()
            ),
            run,
            pointless: None,
            schedule,
        };
        Some((plan, self.run.output()))
    }
}

fn schedule(faults: &[FaultName], run: Duration, seed: u64) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut schedule = Vec::new();
    let mut at = QUIET_FIRST;
    loop {
        let lasts = Duration::from_secs(random.random_range(LASTS_S));
        let Some(fault) = faults.choose(&mut random).copied() else {
            return schedule;
        };
        // A burst is as long as it is high.
        let lasts = match fault {
            FaultName::HaBurst => lasts.min(Duration::from_secs(1)),
            _ => lasts,
        };
        if at + lasts + QUIET_LAST > run {
            return schedule;
        }
        schedule.push(Planned { fault, at, lasts });
        at += lasts + Duration::from_secs(random.random_range(QUIET_S));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_schedule_again_and_every_fault_has_its_turn() {
        let faults = [FaultName::BrokerKill, FaultName::Db503, FaultName::HaBurst];
        let hour = Duration::from_secs(3_600);
        let describe = |seed| format!("{:?}", schedule(&faults, hour, seed));
        assert_eq!(describe(7), describe(7));
        assert_ne!(describe(7), describe(8));
        let planned = schedule(&faults, hour, 7);
        for fault in faults {
            assert!(planned.iter().any(|planned| planned.fault == fault));
        }
        for pair in planned.windows(2) {
            assert!(pair[0].at + pair[0].lasts < pair[1].at);
        }
        assert!(
            planned
                .last()
                .is_some_and(|last| last.at + last.lasts + QUIET_LAST <= hour)
        );
    }
}
