//! `loadtest run ramp`: the highest rate that holds, and what the broker and the database take with
//! no product in between.
//!
//! A rate holds if, over one step at it, at least 95 % of the events were sent, no more than a
//! quarter of a second's events were not stored when the step ended (the backlog does not grow), and
//! the 99th percentile from source time to stored is at most 250 ms. The events of each step are
//! stored before the next begins. At the end every event of all steps is looked for.

mod bare;
mod frames;
mod lines;
mod search;

use std::time::{Duration, Instant};

use clap::Args;
use ha_settings::{Problems, seconds};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::Output;
use super::conduct::conduct;
use super::drive::{Drive, connections, drain, show};
use super::harness::Harness;
use super::latency::LatencyMs;
use super::report::{ConnectionReport, Report, rounded};
use super::settings::{Defaults, Load, Plan, RunArgs, rate_of};
use super::usage::Role;
use crate::progress::Progress;
use search::Search;

const SENT_SHARE_MIN: f64 = 0.95;
const P99_MS_MAX: f64 = 250.0;
/// Of a second: events that may be on their way at the end of a step.
const UNDER_WAY_S_MAX: f64 = 0.25;
/// What the highest rate is known to: the next step up did not hold.
const PRECISION: f64 = 1.1;

/// Settings of `loadtest run ramp`, as given.
#[derive(Debug, Args)]
pub struct RampArgs {
    /// No rate above this is tried
    #[arg(long, default_value = "200000", value_name = "RATE")]
    rate_max: String,
    /// How long each rate must hold
    #[arg(long, default_value = "20", value_name = "TIME")]
    step_seconds: String,
    /// Leave out the bare chain
    #[arg(long)]
    no_bare: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// Settings of `loadtest run ramp`, checked.
#[derive(Debug, Clone)]
pub struct Ramp {
    plan: Plan,
    rate_max: f64,
    step: Duration,
    bare: bool,
}

impl RampArgs {
    /// Checks everything; `None` after a problem. With where the report goes.
    pub fn resolve(self, problems: &mut Problems) -> Option<(Ramp, Output)> {
        let rate_max = rate_of(problems, "--rate-max", &self.rate_max);
        let step = seconds(problems, "--step-seconds", &self.step_seconds);
        if self.run.seconds.is_some() {
            problems.other("--seconds is for other scenarios; a ramp has --step-seconds");
        }
        let defaults = Defaults {
            workers: "2",
            rate: "1000",
            duration: step,
            drain: "120",
        };
        let plan = self.run.resolve_alone(problems, "a ramp", &defaults)?;
        let ramp = Ramp {
            plan,
            rate_max,
            step,
            bare: !self.no_bare,
        };
        problems.is_empty().then(|| (ramp, self.run.output()))
    }
}

/// One rate, tried.
#[derive(Debug, Clone, Serialize)]
struct Step {
    /// Seconds from the first event on.
    at_s: f64,
    rate: f64,
    events_sent: u64,
    /// Sent over the time of the step.
    events_per_s: f64,
    /// Sent and not stored when the step ended.
    under_way: u64,
    latency_ms: Option<LatencyMs>,
    drain_s: f64,
    /// By role, and all events of the step.
    cpu_s_per_million: Map<String, Value>,
    holds: bool,
    /// Why it does not.
    reasons: Vec<String>,
}

/// Runs the scenario.
///
/// # Errors
/// When something cannot be started or read, or `interrupt` was cancelled.
pub(super) async fn run(
    ramp: Ramp,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Report> {
    let plan = ramp.plan.clone();
    let drive = async |harness: &mut _, progress: &_| drive(&ramp, harness, progress).await;
    let mut report = Box::pin(conduct("ramp", plan, progress, interrupt, drive)).await?;
    let held = report
        .extra
        .get("held_events_per_s")
        .and_then(Value::as_f64);
    report.events_per_s = held.unwrap_or_default();
    Ok(report)
}

async fn drive(ramp: &Ramp, harness: &mut Harness, progress: &Progress) -> anyhow::Result<Drive> {
    let mut search = Search::new(ramp.plan.rate, ramp.rate_max, PRECISION);
    let (begun, mut steps, mut drain_s) = (Instant::now(), Vec::new(), 0.0);
    harness.begin();
    while let Some(rate) = search.next() {
        let step = try_rate(ramp, harness, rate, begun, progress).await?;
        progress.step(&step.to_string());
        drain_s += step.drain_s;
        let (holds, settled) = (step.holds, step.under_way == 0 || step.drain_s < STUCK_S);
        search.tell(rate, holds);
        steps.push(step);
        if !settled {
            break;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let held = steps.iter().filter(|step| step.holds);
    let held = held.map(|step| step.events_per_s).reduce(f64::max);
    let mut extra = Map::new();
    extra.insert("held_events_per_s".to_owned(), held.into());
    extra.insert("criterion".to_owned(), criterion(ramp.step).into());
    extra.insert("steps".to_owned(), serde_json::to_value(&steps)?);
    if ramp.bare {
        progress.step("the bare chain, with no product in between");
        let rate = held.unwrap_or(ramp.plan.rate);
        let bare = bare::measure(harness, rate, ramp.step, progress).await?;
        let ratio = held.map(|held| rounded(held / bare.events_per_s));
        extra.insert("bare_events_per_s".to_owned(), bare.events_per_s.into());
        extra.insert("bare".to_owned(), serde_json::to_value(&bare)?);
        extra.insert("ratio".to_owned(), ratio.into());
    }
    // A home cuts off a client that reads too slowly: what it had not read yet comes by gap fill,
    // or nobody knows whether it was read.
    let stats = harness.home_stats();
    let cut = 1..u32::try_from(stats.connections_accepted).unwrap_or(u32::MAX);
    let connections = connections(harness, 0);
    Ok(Drive {
        seconds,
        drain_s,
        asked: 0.0,
        excused: 0.0,
        faults: Vec::new(),
        killed: cut.collect(),
        connections: ConnectionReport {
            authentications_expected: connections.authentications,
            ..connections
        },
        extra,
    })
}

/// A step that is not stored after so long will not be.
const STUCK_S: f64 = 90.0;

fn criterion(step: Duration) -> String {
    format!(
        "a rate holds if in {} s of it at least {:.0} % of the events were sent, at the end no more \
         than {UNDER_WAY_S_MAX} s of events were not stored, and p99 is at most {P99_MS_MAX:.0} ms",
        step.as_secs(),
        SENT_SHARE_MIN * 100.0
    )
}

async fn try_rate(
    ramp: &Ramp,
    harness: &mut Harness,
    rate: f64,
    begun: Instant,
    progress: &Progress,
) -> anyhow::Result<Step> {
    let (sent_before, latencies_before) = (harness.sent(), harness.latencies_now().await?);
    let cpu_before = cpu_s(harness);
    let (step_begun, at_s) = (Instant::now(), begun.elapsed().as_secs_f64());
    let mut firing = harness.fire_load(&Load::House(ramp.step), rate);
    loop {
        show(harness, progress, begun);
        let wait = Duration::from_millis(200);
        match tokio::time::timeout(wait, &mut firing).await {
            Ok(fired) => {
                fired?;
                break;
            }
            Err(_) => continue,
        }
    }
    let seconds = step_begun.elapsed().as_secs_f64();
    let latencies = harness.latencies_now().await?;
    let sent = harness.sent() - sent_before;
    let stored = latencies.count() - latencies_before.count();
    let drain_s = drain(harness, progress, false).await?;
    let latencies = harness.latencies_now().await?.since(&latencies_before)?;
    let sent_at_last = harness.sent() - sent_before;
    let mut step = Step {
        at_s: rounded(at_s),
        rate,
        events_sent: sent_at_last,
        events_per_s: rounded(sent as f64 / seconds),
        under_way: sent.saturating_sub(stored),
        latency_ms: latencies.summary(),
        drain_s: rounded(drain_s),
        cpu_s_per_million: Map::new(),
        holds: true,
        reasons: Vec::new(),
    };
    for ((role, before), (_, after)) in cpu_before.iter().zip(cpu_s(harness)) {
        let per_million = (after - before) * 1e6 / sent_at_last.max(1) as f64;
        let per_million = rounded(per_million).into();
        step.cpu_s_per_million
            .insert((*role).to_owned(), per_million);
    }
    step.judge(ramp.step);
    Ok(step)
}

fn cpu_s(harness: &Harness) -> Vec<(&'static str, f64)> {
    harness.usage().sample();
    let roles = Role::ALL.into_iter();
    roles
        .filter_map(|role| Some((role.as_str(), harness.usage().of(role)?.cpu_s)))
        .collect()
}

impl Step {
    fn judge(&mut self, step: Duration) {
        let required = SENT_SHARE_MIN * self.rate * step.as_secs_f64();
        if (self.events_sent as f64) < required {
            let sent = self.events_sent;
            self.reasons
                .push(format!("{sent} sent of {required:.0} at least"));
        }
        let under_way_max = UNDER_WAY_S_MAX * self.rate;
        if self.under_way as f64 > under_way_max {
            let under_way = self.under_way;
            self.reasons.push(format!(
                "{under_way} not stored at the end, {under_way_max:.0} at most"
            ));
        }
        match self.latency_ms {
            None => self.reasons.push("nothing was stored".to_owned()),
            Some(LatencyMs { p99, .. }) if p99 > P99_MS_MAX => {
                self.reasons.push(format!("p99 {p99:.0} ms"));
            }
            Some(_) => {}
        }
        self.holds = self.reasons.is_empty();
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let p99 = self.latency_ms.map_or(0.0, |latency| latency.p99);
        let (rate, sent) = (self.rate, self.events_per_s);
        write!(f, "{rate:.0}/s: sent {sent:.0}/s, p99 {p99:.0} ms, ")?;
        match self.reasons.as_slice() {
            [] => f.write_str("holds"),
            reasons => write!(f, "does not hold ({})", reasons.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(sent: u64, under_way: u64, p99: f64) -> Step {
        let latency_ms = Some(LatencyMs {
            p50: 1.0,
            p95: 1.0,
            p99,
            max: p99,
        });
        let mut step = Step {
            at_s: 0.0,
            rate: 1_000.0,
            events_sent: sent,
            events_per_s: 0.0,
            under_way,
            latency_ms,
            drain_s: 0.0,
            cpu_s_per_million: Map::new(),
            holds: true,
            reasons: Vec::new(),
        };
        step.judge(Duration::from_secs(10));
        step
    }

    #[test]
    fn a_rate_holds_when_all_three_hold() {
        assert!(step(9_500, 250, 250.0).holds);
        for (sent, under_way, p99) in [(9_499, 0, 1.0), (10_000, 251, 1.0), (10_000, 0, 251.0)] {
            let step = step(sent, under_way, p99);
            assert_eq!((step.holds, step.reasons.len()), (false, 1), "{step}");
        }
    }
}
