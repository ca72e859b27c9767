//! `loadtest run homes`: many simulated Home Assistants, a producer each, one broker.

use std::time::Duration;

use clap::Args;
use ha_settings::{Problems, number};
use loadtest_report::Output;

use crate::plan::{Mode, Plan, SinkPlan};
use crate::settings::{Defaults, RunArgs, rate_of};
use crate::topology::Topology;

/// Each is a process.
pub(super) const HOMES_MAX: usize = 1_000;

/// What InfluxDB has in place of its defaults where it keeps the series of many homes, as in
/// `deploy/compose.fleet.yml`. The names alone of 60,000 series fill a cache of 25 MB, so that it
/// writes a snapshot some each nine seconds and collects its garbage each three, and both take all
/// processors that they can get.
const DATABASE_OF_MANY_HOMES: [(&str, &str); 3] = [
    ("INFLUXDB_DATA_CACHE_SNAPSHOT_MEMORY_SIZE", "256m"),
    ("GOGC", "off"),
    ("GOMEMLIMIT", "4GiB"),
];

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
        let rate = rate_of(problems, "--rate-per-home", &self.rate_per_home);
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
    plan.topology = of_many_homes(&plan.sink);
}

/// The topology of many homes. A variable of the environment goes before what is set here.
fn of_many_homes(sink: &SinkPlan) -> Topology {
    if !matches!(sink, SinkPlan::PrivateInflux(_)) {
        return Topology::default();
    }
    let services = DATABASE_OF_MANY_HOMES.map(|(name, value)| {
        let given = std::env::var(name);
        (name, given.unwrap_or_else(|_| value.to_owned()))
    });
    let said = services
        .each_ref()
        .map(|(name, value)| format!("{name}={value}"));
    Topology {
        notes: vec![format!("a database as a fleet has it: {}", said.join(", "))],
        services: services.into(),
        ..Topology::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_sink::Api;

    #[test]
    fn only_a_database_of_the_run_s_own_is_set_for_many_homes_and_the_report_says_so() {
        let own = of_many_homes(&SinkPlan::PrivateInflux(Api::V1));
        assert_eq!(own.services.len(), DATABASE_OF_MANY_HOMES.len());
        for (name, value) in &own.services {
            assert!(own.notes[0].contains(&format!("{name}={value}")), "{own:?}");
        }
        let other = of_many_homes(&SinkPlan::Sqlite);
        assert!(other.services.is_empty() && other.notes.is_empty());
    }
}
