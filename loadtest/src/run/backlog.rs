//! `loadtest run backlog`: the workers are stopped while events are queued, then started; how long
//! it takes until everything is stored, beside what `backlog_seconds` said meanwhile.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use ha_settings::{Problems, number};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::Output;
use super::conduct::conduct;
use super::drive::{Drive, connections, show};
use super::harness::Harness;
use super::report::{Fault, Report, rounded};
use super::rig::Link;
use super::settings::{Defaults, Load, Mode, Plan, RunArgs, SinkPlan};
use super::usage::Role;
use crate::progress::Progress;

const EVENTS_MAX: u64 = 100_000_000;
const LATENCY_MS_MAX: u64 = 60_000;
const LOOK: Duration = Duration::from_millis(250);
/// So many of the looks are reported.
const ESTIMATES_MAX: usize = 12;
/// Nothing more will come when nothing has moved for so long.
const STALLED: Duration = Duration::from_secs(75);

/// Settings of `loadtest run backlog`, as given.
#[derive(Debug, Args)]
pub struct BacklogArgs {
    /// Events in the queue when the workers are started
    #[arg(long, default_value = "100000", value_name = "COUNT")]
    events: String,
    /// Every case once more with a database that answers so much later, such as 50ms
    #[arg(long, value_name = "TIME")]
    sink_latency: Option<String>,
    #[command(flatten)]
    run: RunArgs,
}

/// The cases of a command line.
#[derive(Debug, Clone)]
pub struct Backlog {
    /// In their order.
    cases: Vec<Case>,
}

#[derive(Debug, Clone)]
struct Case {
    plan: Plan,
    latency: Duration,
}

impl BacklogArgs {
    /// Checks everything; `None` after a problem. With where the report goes.
    pub fn resolve(mut self, problems: &mut Problems) -> Option<(Backlog, Output)> {
        let events = number(problems, "--events", &self.events, 1..=EVENTS_MAX);
        let workers = self.run.workers.take();
        let workers = workers.as_deref().unwrap_or("1,2,4").split(',');
        let latency = self.sink_latency.as_deref();
        let latency = latency.map(|text| millis(problems, "--sink-latency", text));
        if self.run.seconds.is_some() {
            problems.other("--seconds is for other scenarios; a backlog has --events");
        }
        let defaults = Defaults {
            workers: "1",
            rate: "10000",
            duration: Duration::from_secs(1),
            drain: "600",
        };
        let mut cases = Vec::new();
        for count in workers {
            self.run.workers = Some(count.to_owned());
            let plan = self.run.resolve_alone(problems, "a backlog", &defaults);
            // What is wrong with one is wrong with all.
            let mut plan = plan.filter(|_| problems.is_empty())?;
            if plan.mode != Mode::Queue {
                problems.other("a backlog is the queue's: --mode queue");
            }
            plan.load = Load::House(Duration::from_secs_f64(events as f64 / plan.rate));
            cases.push(Case {
                plan: plan.clone(),
                latency: Duration::ZERO,
            });
            if let Some(latency) = latency {
                if !matches!(plan.sink, SinkPlan::PrivateInflux(_) | SinkPlan::Influx(_)) {
                    problems.other("--sink-latency is for --sink influxdb");
                }
                plan.rig.links.push(Link::WorkerDatabase);
                cases.push(Case { plan, latency });
            }
        }
        let output = self.run.output();
        problems.is_empty().then_some((Backlog { cases }, output))
    }
}

/// Reads a time such as `50ms` or `50`.
fn millis(problems: &mut Problems, name: &str, text: &str) -> Duration {
    match text.trim().trim_end_matches("ms").parse() {
        Ok(millis @ 1..=LATENCY_MS_MAX) => Duration::from_millis(millis),
        _ => {
            let valid = format!("milliseconds, up to {LATENCY_MS_MAX}, such as 50ms");
            problems.bad(name, text, valid);
            Duration::ZERO
        }
    }
}

/// Makes all cases, one after the other.
///
/// # Errors
/// When something cannot be started or read, or `interrupt` was cancelled.
pub(super) async fn run(
    backlog: Backlog,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Report> {
    let mut cases = Vec::new();
    for case in backlog.cases {
        let plan = case.plan.clone();
        let name = case.name();
        progress.step(&format!("case {name}"));
        let drive = async |harness: &mut _, progress: &_| drive(&case, harness, progress).await;
        let mut report = Box::pin(conduct("backlog", plan, progress, interrupt, drive)).await?;
        report.case = Some(name);
        cases.push(report);
    }
    match Report::of_cases(cases) {
        Some(report) => Ok(report),
        None => bail!("no case was asked for"),
    }
}

impl Case {
    fn name(&self) -> String {
        let workers = match self.plan.workers {
            1 => "1 worker".to_owned(),
            many => format!("{many} workers"),
        };
        match self.latency.as_millis() {
            0 => workers,
            millis => format!("{workers}, database + {millis} ms"),
        }
    }
}

async fn drive(case: &Case, harness: &mut Harness, progress: &Progress) -> anyhow::Result<Drive> {
    let (mut launches, mut exits) = (Vec::new(), Vec::new());
    for name in harness.names(Role::Worker) {
        let (launch, exit) = harness.terminate_process(&name).await?;
        launches.push(launch);
        exits.push(exit);
    }
    harness.links().set_latency(case.latency);
    let begun = Instant::now();
    let mut firing = harness.fire();
    loop {
        show(harness, progress, begun);
        match tokio::time::timeout(LOOK, &mut firing).await {
            Ok(fired) => {
                fired?;
                break;
            }
            Err(_) => continue,
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    queued(harness, progress).await?;
    let queue_depth = harness.queues().map(|queues| queues.depth());
    let (started, started_s) = (Instant::now(), begun.elapsed().as_secs_f64());
    for launch in &launches {
        harness.start_process(launch)?;
    }
    for launch in &launches {
        harness.await_ready(&launch.name).await?;
    }
    let ready_s = started.elapsed().as_secs_f64();
    let looks = drain(harness, progress, started).await?;
    let drain_s = started.elapsed().as_secs_f64();
    let stored = harness.stored().await?;
    let fault = Fault {
        fault: "workers-stopped",
        at_s: 0.0,
        until_s: Some(rounded(started_s)),
        subscribed_after_s: None,
        events_not_sent: 0,
        exits,
    };
    let mut extra = Map::new();
    let backlog = json!({
        "events": stored,
        "frames_queued": queue_depth,
        "workers": case.plan.workers,
        "sink_latency_ms": u64::try_from(case.latency.as_millis())?,
        "ready_s": rounded(ready_s),
        "drain_s": rounded(drain_s),
        "drain_events_per_s": rounded(stored as f64 / drain_s.max(1e-3)),
        "estimates": estimates(&looks, drain_s),
    });
    extra.insert("backlog".to_owned(), backlog);
    Ok(Drive {
        seconds,
        drain_s,
        asked: case.plan.rate * duration(&case.plan).as_secs_f64(),
        excused: 0.0,
        faults: vec![fault],
        killed: Default::default(),
        connections: connections(harness, 0),
        extra,
    })
}

fn duration(plan: &Plan) -> Duration {
    match plan.load {
        Load::House(duration) => duration,
        _ => Duration::ZERO,
    }
}

/// Waits until the producer has nothing left to give to the broker.
async fn queued(harness: &Harness, progress: &Progress) -> anyhow::Result<()> {
    let (begun, mut moved, mut last) = (Instant::now(), Instant::now(), 0);
    loop {
        let sent = harness.sent();
        let status = harness.status("producer").await.unwrap_or_default();
        let number = |path| status.pointer(path).and_then(Value::as_u64);
        let confirmed = number("/events/confirmed").unwrap_or_default();
        if confirmed >= sent && number("/spool/events") == Some(0) {
            return Ok(());
        }
        progress.show(|| format!("{confirmed} of {sent} events are in the queue"));
        if confirmed != last {
            (last, moved) = (confirmed, Instant::now());
        }
        if moved.elapsed() > STALLED || begun.elapsed() > harness.plan().drain_max {
            bail!("only {confirmed} of {sent} events came into the queue");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Seconds since the workers were started, frames in the queue, the largest `backlog_seconds`.
type Look = (f64, u64, f64);

/// Waits until everything is stored.
async fn drain(
    harness: &Harness,
    progress: &Progress,
    started: Instant,
) -> anyhow::Result<Vec<Look>> {
    let mut looks = Vec::new();
    let (mut moved, mut last, mut stored) = (Instant::now(), (u64::MAX, 0), 0);
    loop {
        let depth = harness.queues().map_or(0, |queues| queues.depth());
        let mut backlog = None;
        for name in harness.names(Role::Worker) {
            let status = harness.status(&name).await.unwrap_or_default();
            let seconds = status["backlog_seconds"].as_f64();
            backlog = seconds.into_iter().chain(backlog).reduce(f64::max);
        }
        if let Some(backlog) = backlog.filter(|_| depth > 0) {
            looks.push((started.elapsed().as_secs_f64(), depth, backlog));
        }
        let asked = Instant::now();
        // Counting a million points is a load of its own: not before the queue is empty.
        if depth == 0 {
            stored = harness.stored().await?;
            if stored >= harness.sent() {
                return Ok(looks);
            }
        }
        progress.show(|| format!("{depth} frames wait, {stored} events stored"));
        if last != (depth, stored) {
            (last, moved) = ((depth, stored), Instant::now());
        }
        if moved.elapsed() > STALLED || started.elapsed() > harness.plan().drain_max {
            let sent = harness.sent();
            progress.step(&format!("no longer waiting: {stored} of {sent} stored"));
            return Ok(looks);
        }
        let pause = LOOK.max(asked.elapsed() * 4).min(Duration::from_secs(2));
        tokio::time::sleep(if depth == 0 { asked.elapsed() } else { pause }.max(LOOK / 5)).await;
    }
}

/// Some of the looks, evenly: what was said, and what it took from then on.
fn estimates(looks: &[Look], drain_s: f64) -> Vec<Value> {
    let step = looks.len().div_ceil(ESTIMATES_MAX).max(1);
    let some = looks.iter().step_by(step);
    some.map(|(at_s, depth, backlog_seconds)| {
        json!({
            "at_s": rounded(*at_s),
            "queue_depth": depth,
            "backlog_seconds": rounded(*backlog_seconds),
            "took_s": rounded(drain_s - at_s),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_stand_beside_what_it_took() {
        let looks: Vec<Look> = (0..100).map(|at| (f64::from(at), 100, 7.0)).collect();
        let some = estimates(&looks, 110.0);
        assert!((10..=ESTIMATES_MAX).contains(&some.len()), "{some:?}");
        let first =
            json!({"at_s": 0.0, "queue_depth": 100, "backlog_seconds": 7.0, "took_s": 110.0});
        assert_eq!(some[0], first);
        assert!(estimates(&[], 1.0).is_empty());
    }

    #[test]
    fn there_is_a_case_for_each_number_of_workers_and_each_database() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            backlog: BacklogArgs,
        }
        let words = "backlog --workers 1,2,4 --sink-latency 50ms --events 500 --rate 250";
        let line: Line = clap::Parser::parse_from(words.split(' '));
        // Certificates are looked at, too.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut problems = Problems::default();
        let (backlog, _) = line.backlog.resolve(&mut problems).unwrap();
        let names: Vec<String> = backlog.cases.iter().map(Case::name).collect();
        let wanted = [
            "1 worker",
            "1 worker, database + 50 ms",
            "2 workers",
            "2 workers, database + 50 ms",
            "4 workers",
            "4 workers, database + 50 ms",
        ];
        assert_eq!(names, wanted);
        for case in &backlog.cases {
            assert_eq!(duration(&case.plan), Duration::from_secs(2));
            assert_eq!(case.plan.rig.links.is_empty(), case.latency.is_zero());
        }
    }

    #[test]
    fn a_latency_has_its_unit() {
        let mut problems = Problems::default();
        for text in ["50ms", "50", " 50ms "] {
            let latency = millis(&mut problems, "--sink-latency", text);
            assert_eq!(latency, Duration::from_millis(50));
        }
        assert!(problems.is_empty());
        millis(&mut problems, "--sink-latency", "0.05s");
        assert!(!problems.is_empty());
    }
}
