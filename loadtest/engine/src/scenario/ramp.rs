//! `loadtest run ramp`: the highest rate that holds, and what the broker and the database take with
//! no product in between.
//!
//! Both are sought alike, and held to one criterion ([`criterion`]): what broker and database take
//! with any delay is no measure of a product that must answer within 250 ms. The events of each step
//! are stored before the next begins. At the end every event of all steps is looked for.

mod criterion;
mod search;

use std::time::{Duration, Instant};

use clap::Args;
use ha_settings::{Problems, number, seconds};
use loadtest_report::{Bare, BesideBare, ConnectionReport, Extra, Output, Report, Step, rounded};
use tokio_util::sync::CancellationToken;

use crate::drive::{Drive, await_reported, connections, drain, show};
use crate::harness::Harness;
use crate::latency::latency_ms;
use crate::plan::{Load, Plan};
use crate::progress::Progress;
use crate::run;
use crate::scenario::bare::{BareChain, Home};
use crate::scenario::homes::{HOMES_MAX, share_among};
use crate::settings::{Defaults, RunArgs, rate_of};
use criterion::Tried;
use search::Search;

/// What the highest rate is known to: the next step up did not hold.
const PRECISION: f64 = 1.05;

/// Settings of `loadtest run ramp`, as given.
#[derive(Debug, Args)]
pub struct RampArgs {
    /// No rate above this is tried
    #[arg(long, default_value = "200000", value_name = "RATE")]
    rate_max: String,
    /// How long each rate must hold
    #[arg(long, default_value = "20", value_name = "TIME")]
    step_seconds: String,
    /// Simulated Home Assistants, each with a producer process of its own, that share the rate; the
    /// bare chain then has as many publishers
    #[arg(long, default_value = "1", value_name = "COUNT")]
    homes: String,
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
        let homes = number(problems, "--homes", &self.homes, 1..=HOMES_MAX);
        if self.run.seconds.is_some() {
            problems.other("--seconds is for other scenarios; a ramp has --step-seconds");
        }
        let defaults = Defaults {
            workers: "2",
            rate: "1000",
            duration: step,
            drain: "120",
        };
        let mut plan = self.run.resolve_alone(problems, "a ramp", &defaults)?;
        if homes > 1 {
            share_among(homes, "--homes", &mut plan, problems);
        }
        let ramp = Ramp {
            plan,
            rate_max,
            step,
            bare: !self.no_bare,
        };
        problems.is_empty().then(|| (ramp, self.run.output()))
    }
}

/// Runs the scenario.
///
/// # Errors
/// When something cannot be started or read, or `interrupt` was cancelled.
pub async fn run(
    ramp: Ramp,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Report> {
    let plan = ramp.plan.clone();
    let drive = async |harness: &mut _, progress: &_| drive(&ramp, harness, progress).await;
    let mut report = Box::pin(run::run("ramp", plan, progress, interrupt, drive)).await?;
    let ramp = report.extra.ramp.as_ref();
    let held = ramp.and_then(|ramp| ramp.held_events_per_s);
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
        let took_s = step.drain_s.unwrap_or_default();
        drain_s += took_s;
        let settled = step.under_way == 0 || took_s < STUCK_S;
        search.tell(rate, step.holds);
        steps.push(step);
        if !settled {
            break;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let held = best(&steps);
    harness.end_load();
    let mut extra = Extra::default();
    if ramp.bare {
        let bare = bare(ramp, harness, held, begun, progress).await?;
        let held_by_bare = best(&bare.steps);
        let ratio = held.zip(held_by_bare);
        extra.beside_bare = Some(BesideBare {
            bare_events_per_s: held_by_bare,
            bare_unbounded_events_per_s: bare.unbounded_events_per_s,
            ratio: ratio.map(|(held, bare)| rounded(held / bare)),
            bare,
        });
    }
    extra.ramp = Some(loadtest_report::Ramp {
        held_events_per_s: held,
        criterion: criterion::words(ramp.step),
        steps,
    });
    // A home cuts off a client that reads too slowly: what it had not read yet comes by gap fill,
    // or it is unknown whether it was read.
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

/// A step that is not stored after this time will not be.
const STUCK_S: f64 = 90.0;

/// What was sent a second in the best step that held.
fn best(steps: &[Step]) -> Option<f64> {
    let held = steps.iter().filter(|step| step.holds);
    held.map(|step| step.events_per_s).reduce(f64::max)
}

/// Searches from the rate that the product held, then lets the bare chain go as fast as it goes.
async fn bare(
    ramp: &Ramp,
    harness: &Harness,
    held: Option<f64>,
    begun: Instant,
    progress: &Progress,
) -> anyhow::Result<Bare> {
    progress.step("the bare chain, with no product in between");
    let rate = held.unwrap_or(ramp.plan.rate);
    let mut chain = BareChain::like_the_product(harness, rate, progress).await?;
    let home = Home::start(harness.plan().entities).await?;
    let mut search = Search::new(rate, ramp.rate_max, PRECISION);
    let mut steps = Vec::new();
    while let Some(rate) = search.next() {
        harness.at_rest().await;
        let (at_s, cpu_before) = (begun.elapsed().as_secs_f64(), harness.cpu_s());
        let firing = home.fire(rate, ramp.step).await?;
        let passed = chain.at_rate(rate, ramp.step).await?;
        drop(firing);
        let mut step = Step {
            at_s: rounded(at_s),
            rate,
            events_sent: passed.sent,
            events_per_s: rounded(passed.sent as f64 / passed.seconds),
            under_way: passed.sent.saturating_sub(passed.written),
            latency_ms: latency_ms(&passed.latencies),
            drain_s: None,
            cpu_s_per_million: harness.cpu_s_per_million(&cpu_before, passed.latencies.len()),
            holds: true,
            reasons: Vec::new(),
        };
        judge(&mut step, ramp.step);
        progress.step(&format!("bare, {step}"));
        search.tell(rate, step.holds);
        steps.push(step);
    }
    harness.at_rest().await;
    progress.step("bare, as fast as it goes, with any delay");
    let cpu_before = harness.cpu_s();
    let flat_out = chain.flat_out(ramp.step).await?;
    Ok(Bare {
        parts: chain.parts(),
        unbounded_events_per_s: Some(flat_out.events_per_s()),
        events: flat_out.written,
        unbounded_cpu_s_per_million: Some(harness.cpu_s_per_million(&cpu_before, flat_out.written)),
        steps,
        ..Bare::default()
    })
}

async fn try_rate(
    ramp: &Ramp,
    harness: &mut Harness,
    rate: f64,
    begun: Instant,
    progress: &Progress,
) -> anyhow::Result<Step> {
    harness.at_rest().await;
    let (sent_before, latencies_before) = (harness.sent(), harness.latencies_now().await?);
    let cpu_before = harness.cpu_s();
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
    let (said_s, _) = await_reported(harness, progress).await;
    let cpu_s_per_million = harness.cpu_s_per_million(&cpu_before, harness.sent() - sent_before);
    let drain_s = said_s + drain(harness, progress, false).await?;
    let latencies = harness.latencies_now().await?.since(&latencies_before)?;
    let sent_at_last = harness.sent() - sent_before;
    let mut step = Step {
        at_s: rounded(at_s),
        rate,
        events_sent: sent_at_last,
        events_per_s: rounded(sent as f64 / seconds),
        under_way: sent.saturating_sub(stored),
        latency_ms: latencies.summary(),
        drain_s: Some(rounded(drain_s)),
        cpu_s_per_million,
        holds: true,
        reasons: Vec::new(),
    };
    judge(&mut step, ramp.step);
    Ok(step)
}

/// Finds whether the rate holds.
fn judge(step: &mut Step, lasts: Duration) {
    let tried = Tried {
        rate: step.rate,
        lasts,
        sent: step.events_sent,
        under_way: step.under_way,
        p99_ms: step.latency_ms.map(|latency| latency.p99),
    };
    step.reasons = tried.reasons();
    step.holds = step.reasons.is_empty();
}
