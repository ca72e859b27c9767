//! Driving: fire at one rate, do what is planned, wait until everything is settled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use loadtest_engine::harness::Harness;
use loadtest_engine::plan::Load;
use loadtest_engine::progress::Progress;
use loadtest_report::{ConnectionReport, Fault, rounded};

use super::context::{Context, Prepared};
use super::fault::Trace;
use super::observe::{Observer, Peaks, Sight};
use super::plan::{DrillPlan, Planned};

/// Nothing more will come when nothing has changed for this long: longer than every backoff and
/// timeout of the product.
const STALLED: Duration = Duration::from_secs(75);
/// A sixth of the planned time at least is left behind the last fault.
const RECOVERY_SHARE: u32 = 6;
const POLL_MAX: Duration = Duration::from_millis(500);

/// What happened.
#[derive(Debug)]
pub(super) struct Driven {
    pub(super) seconds: f64,
    pub(super) drain_s: f64,
    pub(super) faults: Vec<Fault>,
    /// Of the last fault; `None`: it was never seen to be over.
    pub(super) recovery_s: Option<f64>,
    pub(super) peaks: Peaks,
    pub(super) revived: BTreeMap<String, u64>,
    pub(super) events_not_sent: u64,
    pub(super) connections: ConnectionReport,
}

/// The end of the newest fault, and what was seen since.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    since: Instant,
    /// Events that had been fired when it ended.
    fired: u64,
    recovered_after: Option<Duration>,
}

impl Recovery {
    fn observe(&mut self, sight: Option<Sight>) {
        let Some(sight) = sight.filter(|sight| sight.at >= self.since) else {
            return;
        };
        if self.recovered_after.is_none() && sight.due >= self.fired && sight.is_settled() {
            self.recovered_after = Some(sight.at.duration_since(self.since));
        }
    }
}

pub(super) async fn drive(
    harness: &mut Harness,
    plan: &DrillPlan,
    prepared: &Prepared,
    progress: &Progress,
) -> anyhow::Result<Driven> {
    let dead_letters = plan
        .schedule
        .iter()
        .any(|planned| planned.fault.row().trace == Trace::DeadLetters);
    let mut observer = Observer::start(harness, dead_letters)?;
    let mut revived = BTreeMap::new();
    let begun = Instant::now();
    let Load::House(duration) = plan.run.load else {
        bail!("a drill fires the simulated house's events");
    };
    let firing = harness.fire_on();
    let mut context = Context {
        harness,
        progress,
        prepared,
        revived: &mut revived,
        begun,
        rate: plan.run.rate,
    };
    let mut faults = Vec::new();
    let mut recovery: Option<Recovery> = None;
    for Planned { fault, at, lasts } in &plan.schedule {
        while begun.elapsed() < *at {
            let left = at.saturating_sub(begun.elapsed());
            follow(&mut context, &mut observer, &mut recovery, left).await?;
        }
        // Services take their time to come back; what is planned for behind the end is left out.
        if begun.elapsed() >= duration {
            break;
        }
        let (at_s, not_sent) = (begun.elapsed().as_secs_f64(), not_sent(context.harness));
        progress.step(&format!("{at_s:.1} s: {fault}: {}", fault.row().about));
        let exits = context.inject(*fault, *lasts).await?;
        let until_s = begun.elapsed().as_secs_f64();
        progress.step(&format!("{until_s:.1} s: {fault} is over"));
        faults.push(Fault {
            fault: fault.as_str().to_owned(),
            at_s: rounded(at_s),
            until_s: Some(rounded(until_s)),
            subscribed_after_s: None,
            events_not_sent: self::not_sent(context.harness).saturating_sub(not_sent),
            exits,
        });
        recovery = Some(Recovery {
            since: Instant::now(),
            fired: context.harness.ledger().fired(),
            recovered_after: None,
        });
    }
    // A fault that takes longer than planned is recovered from under load, too.
    let until = duration.max(begun.elapsed() + duration / RECOVERY_SHARE);
    while begun.elapsed() < until {
        let left = until.saturating_sub(begun.elapsed());
        follow(&mut context, &mut observer, &mut recovery, left).await?;
    }
    context.harness.home().stop_firing(&firing);
    let ended = Instant::now();
    let seconds = ended.duration_since(begun).as_secs_f64();
    settle(&mut context, &mut observer, &mut recovery).await?;
    Ok(Driven {
        seconds,
        drain_s: ended.elapsed().as_secs_f64(),
        faults,
        recovery_s: recovery
            .and_then(|recovery| recovery.recovered_after)
            .map(|after| rounded(after.as_secs_f64())),
        peaks: observer.peaks(),
        events_not_sent: not_sent(context.harness),
        connections: connections(context.harness),
        revived,
    })
}

fn connections(harness: &Harness) -> ConnectionReport {
    let stats = harness.home_stats();
    ConnectionReport {
        authentications: stats.authentications,
        // How often a fault makes the producer connect again is its own affair.
        authentications_expected: stats.authentications,
        connections_open: stats.connections_open,
        subscriptions: stats
            .subscriptions
            .get("state_changed")
            .copied()
            .unwrap_or_default(),
    }
}

/// Waits for the next sample, at most this long.
async fn follow(
    context: &mut Context<'_>,
    observer: &mut Observer,
    recovery: &mut Option<Recovery>,
    wait_max: Duration,
) -> anyhow::Result<()> {
    observer.next(wait_max.min(POLL_MAX)).await;
    if let Some(recovery) = recovery {
        recovery.observe(observer.sight());
    }
    context.pulse().await
}

/// Waits until everything that was fired is stored or excused, and nothing waits.
async fn settle(
    context: &mut Context<'_>,
    observer: &mut Observer,
    recovery: &mut Option<Recovery>,
) -> anyhow::Result<()> {
    let (begun, fired) = (Instant::now(), context.harness.ledger().fired());
    let drain_max = context.harness.plan().drain_max;
    let (mut last, mut moved) = (None, Instant::now());
    loop {
        follow(context, observer, recovery, POLL_MAX).await?;
        let sight = observer.sight();
        // Not a sample from before the fault was over.
        let since = recovery.map_or(begun, |recovery| recovery.since);
        let fresh = sight.filter(|sight| sight.at >= since && sight.due >= fired);
        if fresh.is_some_and(|sight| sight.is_settled()) {
            return Ok(());
        }
        let seen = sight.map(|sight| {
            (
                sight.late,
                sight.spool_events,
                sight.depth,
                sight.dead_letters,
            )
        });
        if seen != last {
            (last, moved) = (seen, Instant::now());
        }
        context.progress.show(|| match sight {
            Some(sight) => format!(
                "{} events not stored yet, {} in the spool, {} batches waiting",
                sight.late,
                sight.spool_events.unwrap_or_default(),
                sight.depth
            ),
            None => "the database does not say what is stored".to_owned(),
        });
        if moved.elapsed() > STALLED || begun.elapsed() > drain_max {
            context
                .progress
                .step(&format!("no longer waiting; seen last: {sight:?}"));
            return Ok(());
        }
    }
}

/// Events that no client was sent.
fn not_sent(harness: &Harness) -> u64 {
    let ledger = harness.ledger();
    let sent = ledger.sent();
    ledger.fired().saturating_sub(sent)
}
