//! `loadtest run growth`: one rate, and then ten times the rate: what an event costs at each.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use ha_settings::{Problems, number};
use loadtest_report::{CpuPerMillion, Growth, Output, Report, Role, rounded};
use tokio_util::sync::CancellationToken;

use crate::plan::Plan;
use crate::progress::Progress;
use crate::scenario::cases::one_by_one;
use crate::scenario::steady;
use crate::settings::{Defaults, RunArgs};

const TIMES_MAX: u32 = 1_000;

/// Settings of `loadtest run growth`, as given.
#[derive(Debug, Args)]
pub struct GrowthArgs {
    /// The second rate is so many times the first
    #[arg(long, default_value = "10", value_name = "COUNT")]
    times: String,
    #[command(flatten)]
    run: RunArgs,
}

impl GrowthArgs {
    /// Checks everything; `None` after a problem. Both plans, and where the report goes.
    pub fn resolve(self, problems: &mut Problems) -> Option<(Vec<Plan>, Output)> {
        let times = number(problems, "--times", &self.times, 2..=TIMES_MAX);
        let defaults = Defaults {
            workers: "1",
            rate: "1000",
            duration: Duration::from_secs(30),
            drain: "120",
        };
        let plan = self.run.resolve_alone(problems, "`growth`", &defaults)?;
        let more = Plan {
            rate: plan.rate * f64::from(times),
            ..plan.clone()
        };
        problems
            .is_empty()
            .then(|| (vec![plan, more], self.run.output()))
    }
}

/// Makes both runs, one after the other.
///
/// # Errors
/// When something cannot be started or read, or `interrupt` was cancelled.
pub async fn run(
    plans: Vec<Plan>,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Report> {
    let cases = plans
        .into_iter()
        .map(|plan| (format!("{:.0} events/s", plan.rate), plan));
    let mut report = one_by_one(cases, async |name, plan| {
        progress.step(&format!("case {name}"));
        Box::pin(steady::run("growth", plan, progress, interrupt)).await
    })
    .await?;
    let [less, more] = report.cases.as_slice() else {
        bail!("growth is from one rate to another");
    };
    report.extra.growth = Some(growth(&per_million(less), &per_million(more)));
    Ok(report)
}

/// Under load.
fn per_million(report: &Report) -> CpuPerMillion {
    let events = report.load_events.unwrap_or(report.events_sent).max(1) as f64;
    let roles = report.used();
    roles
        .filter_map(|(role, usage)| Some((role, usage.cpu_s_load? * 1e6 / events)))
        .collect()
}

/// By role: both, and their ratio.
fn growth(less: &CpuPerMillion, more: &CpuPerMillion) -> BTreeMap<Role, Growth> {
    let both = less.iter().filter_map(|(role, before)| {
        let after = more.get(role)?;
        let growth = Growth {
            cpu_s_per_million: [rounded(*before), rounded(*after)],
            ratio: (*before > 0.0).then(|| rounded(after / before)),
        };
        Some((*role, growth))
    });
    both.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_event_costs_is_compared_role_by_role() {
        let less = [
            (Role::Producer, 10.0),
            (Role::Worker, 0.0),
            (Role::Broker, 3.0),
        ];
        let more = [(Role::Producer, 12.0), (Role::Worker, 2.0)];
        let found = growth(&less.into(), &more.into());
        assert_eq!(found[&Role::Producer].ratio, Some(1.2));
        assert_eq!(found[&Role::Worker].ratio, None);
        assert!(!found.contains_key(&Role::Broker));
    }
}
