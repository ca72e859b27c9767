//! `loadtest run homes`: many simulated Home Assistants, a producer each, one broker.

use std::time::Duration;

use clap::Args;
use ha_settings::{Problems, number};

use super::Output;
use super::settings::{Defaults, Mode, Plan, RunArgs, SinkPlan};

const HOMES_MAX: usize = 1_000;

/// As `docs/fleet.md` has it: the cache of a database of so many series …
const SERIES_MANY: usize = 30_000;
/// … is written to a file when it has so many mebibytes.
const CACHE_MIB_MANY: usize = 256;
/// Of the script that starts services.
const CACHE_SETTING: &str = "INFLUXDB_CACHE_SNAPSHOT_BYTES";

/// Settings of `loadtest run homes`, as given.
#[derive(Debug, Args)]
pub struct HomesArgs {
    /// Simulated Home Assistants, each with a producer process of its own
    #[arg(long, default_value = "20", value_name = "COUNT")]
    homes: String,
    /// Events per second of each home
    #[arg(long, default_value = "20", value_name = "RATE")]
    rate_per_home: String,
    /// MiB of points that the private InfluxDB gathers in memory before it writes a file of them
    /// (its `cache-snapshot-memory-size`) [default: 25, as InfluxDB has it; 256 with 30,000 entities
    /// in all and more]
    #[arg(long, value_name = "MIB")]
    influxdb_cache: Option<String>,
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
        if plan.mode != Mode::Queue {
            problems.other("`homes` is about one broker for all: --mode queue");
        }
        plan.homes = homes;
        let private = matches!(plan.sink, SinkPlan::PrivateInflux(_));
        let cache_mib = match &self.influxdb_cache {
            Some(_) if !private => {
                problems.other("--influxdb-cache is for an InfluxDB that this starts");
                None
            }
            Some(text) => Some(number(problems, "--influxdb-cache", text, 1..=4_096)),
            None if private && homes * plan.entities >= SERIES_MANY => Some(CACHE_MIB_MANY),
            None => None,
        };
        let bytes = |mib: usize| (CACHE_SETTING, (mib << 20).to_string());
        plan.rig.services.extend(cache_mib.map(bytes));
        problems.is_empty().then(|| (plan, self.run.output()))
    }
}
