//! `loadtest run backlog`: the workers are stopped while events are queued, then started; how long
//! it takes until everything is stored, beside what `backlog_seconds` said meanwhile. With one worker
//! the bare chain empties a queue of as many events, too; once before as well, which does not count:
//! a database that has just been started is slower, and both are to find the same.

mod estimate;

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use ha_settings::{Problems, number};
use loadtest_report::{Backlog, Bare, BesideBare, Extra, Fault, Output, Report, Role, rounded};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::drive::{Drive, connections, show};
use crate::harness::Harness;
use crate::plan::{Load, Mode, Plan, SinkPlan};
use crate::progress::Progress;
use crate::run;
use crate::scenario::bare::BareChain;
use crate::scenario::cases::one_by_one;
use crate::settings::{Defaults, RunArgs};
use crate::topology::Link;
use estimate::{QueueSample, estimate, shown};

const EVENTS_MAX: u64 = 100_000_000;
const LATENCY_MS_MAX: u64 = 60_000;
const POLL: Duration = Duration::from_millis(250);
/// How often the workers are asked how much they have stored: what the drain time is exact to.
const ASK: Duration = Duration::from_millis(100);
/// The workers may have forgotten what they stored; the database has not.
const SAID_NOTHING: Duration = Duration::from_secs(5);
const PROGRESS_EVENTS: u64 = 10;
/// Nothing more will come when nothing has moved for this long.
const STALLED: Duration = Duration::from_secs(75);

/// Settings of `loadtest run backlog`, as given.
#[derive(Debug, Args)]
pub struct BacklogArgs {
    /// Events in the queue when the workers are started
    #[arg(long, default_value = "100000", value_name = "COUNT")]
    events: String,
    /// Leave out the bare chain
    #[arg(long)]
    no_bare: bool,
    /// Every case once more with a database that answers so much later, such as 50ms
    #[arg(long, value_name = "TIME")]
    sink_latency: Option<String>,
    #[command(flatten)]
    run: RunArgs,
}

/// The cases of a command line.
#[derive(Debug, Clone)]
pub struct Backlogs {
    /// In their order.
    cases: Vec<Case>,
}

#[derive(Debug, Clone)]
struct Case {
    plan: Plan,
    latency: Duration,
    /// Whether the bare chain empties a queue, too.
    bare: bool,
}

impl BacklogArgs {
    /// Checks everything; `None` after a problem. With where the report goes.
    pub fn resolve(mut self, problems: &mut Problems) -> Option<(Backlogs, Output)> {
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
                bare: plan.workers == 1 && !self.no_bare,
            });
            if let Some(latency) = latency {
                if !matches!(plan.sink, SinkPlan::PrivateInflux(_) | SinkPlan::Influx(_)) {
                    problems.other("--sink-latency is for --sink influxdb");
                }
                plan.topology.links.push(Link::WorkerDatabase);
                cases.push(Case {
                    plan,
                    latency,
                    bare: false,
                });
            }
        }
        let output = self.run.output();
        problems.is_empty().then_some((Backlogs { cases }, output))
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
pub async fn run(
    backlogs: Backlogs,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Report> {
    let cases = backlogs.cases.into_iter().map(|case| (case.name(), case));
    one_by_one(cases, async |name, case: Case| {
        let plan = case.plan.clone();
        progress.step(&format!("case {name}"));
        let drive = async |harness: &mut _, progress: &_| drive(&case, harness, progress).await;
        Box::pin(run::run("backlog", plan, progress, interrupt, drive)).await
    })
    .await
}

impl Case {
    /// Fired while the workers are stopped.
    fn events(&self) -> u64 {
        (self.plan.rate * duration(&self.plan).as_secs_f64()) as u64
    }

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
    if case.bare {
        progress.step("the bare chain, for a database that has worked before");
        let mut chain = BareChain::like_the_product(harness, case.plan.rate, progress).await?;
        chain.drain(case.events()).await?;
    }
    let stored_before = harness.sent();
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
        match tokio::time::timeout(POLL, &mut firing).await {
            Ok(fired) => {
                fired?;
                break;
            }
            Err(_) => continue,
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    queued(harness, progress).await?;
    harness.at_rest().await;
    let queue_depth = harness.queues().map(|queues| queues.depth());
    let cpu_before = harness.cpu_s();
    let (started, started_s) = (Instant::now(), begun.elapsed().as_secs_f64());
    for launch in &launches {
        harness.start_process(launch)?;
    }
    for launch in &launches {
        harness.await_ready(&launch.name).await?;
    }
    let ready_s = started.elapsed().as_secs_f64();
    let (samples, drain_s, stored) = drain(harness, progress, started).await?;
    harness.end_load();
    let stored = stored.saturating_sub(stored_before);
    let cpu_s_per_million = harness.cpu_s_per_million(&cpu_before, stored);
    let drain_events_per_s = rounded(stored as f64 / drain_s.max(1e-3));
    let fault = Fault {
        fault: "workers-stopped".to_owned(),
        at_s: 0.0,
        until_s: Some(rounded(started_s)),
        subscribed_after_s: None,
        events_not_sent: 0,
        exits,
    };
    let backlog = Backlog {
        events: stored,
        batches_queued: queue_depth,
        workers: case.plan.workers,
        sink_latency_ms: u64::try_from(case.latency.as_millis())?,
        ready_s: rounded(ready_s),
        drain_s: rounded(drain_s),
        drain_events_per_s,
        cpu_s_per_million,
        estimate: estimate(&samples, drain_s),
        estimates: shown(&samples, drain_s),
    };
    let mut extra = Extra {
        backlog: Some(backlog),
        ..Extra::default()
    };
    if case.bare {
        progress.step("the bare chain, with no product in between");
        let mut chain = BareChain::like_the_product(harness, case.plan.rate, progress).await?;
        let (passed, cpu_s_per_million) = chain.drain(stored).await?;
        let bare_events_per_s = passed.events_per_s();
        extra.beside_bare = Some(BesideBare {
            bare: Bare {
                parts: chain.parts(),
                events: passed.written,
                seconds: Some(rounded(passed.seconds)),
                cpu_s_per_million: Some(cpu_s_per_million),
                ..Bare::default()
            },
            bare_events_per_s: Some(bare_events_per_s),
            bare_unbounded_events_per_s: None,
            ratio: Some(rounded(drain_events_per_s / bare_events_per_s.max(1.0))),
        });
    }
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
        // A batch that the broker did not take at once came by way of the spool.
        let events = |name| number(name).unwrap_or_default();
        let confirmed = events("/events/confirmed") + events("/events/drained");
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
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until everything is stored: the samples meanwhile, how long it took, and how many it was.
async fn drain(
    harness: &Harness,
    progress: &Progress,
    started: Instant,
) -> anyhow::Result<(Vec<QueueSample>, f64, u64)> {
    let mut samples: Vec<QueueSample> = Vec::new();
    let (mut moved, mut last) = (Instant::now(), 0);
    loop {
        let asked_s = started.elapsed().as_secs_f64();
        let said = harness.reported_stored().await;
        let sent = harness.sent();
        // The producer's own records, one a minute, are no progress.
        if said >= last + PROGRESS_EVENTS {
            (last, moved) = (said, Instant::now());
        }
        // Counting a million points is a load of its own: only when there is a reason to.
        if said >= sent || moved.elapsed() > SAID_NOTHING {
            let stored = harness.stored().await?;
            if stored >= sent {
                return Ok((samples, asked_s, stored));
            }
            if moved.elapsed() > STALLED || started.elapsed() > harness.plan().drain_max {
                progress.step(&format!("no longer waiting: {stored} of {sent} stored"));
                return Ok((samples, asked_s, stored));
            }
        }
        let is_time = |sample: &QueueSample| asked_s - sample.at_s >= POLL.as_secs_f64();
        if samples.last().is_none_or(is_time) {
            samples.extend(sample(harness, asked_s).await);
        }
        progress.show(|| format!("{said} of {sent} events stored"));
        tokio::time::sleep(ASK).await;
    }
}

/// `None` if nothing waits, or no worker reports its backlog.
async fn sample(harness: &Harness, at_s: f64) -> Option<QueueSample> {
    let queue_depth = harness.queues().map_or(0, |queues| queues.depth());
    let mut backlog = None;
    for name in harness.names(Role::Worker) {
        let status = harness.status(&name).await.unwrap_or_default();
        let seconds = status["backlog_seconds"].as_f64();
        backlog = seconds.into_iter().chain(backlog).reduce(f64::max);
    }
    let backlog_seconds = backlog.filter(|_| queue_depth > 0)?;
    Some(QueueSample {
        at_s,
        queue_depth,
        backlog_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(case.plan.topology.links.is_empty(), case.latency.is_zero());
            let alone = case.plan.workers == 1 && case.latency.is_zero();
            assert_eq!(case.bare, alone, "what a bare consumer is beside");
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
