//! Driving: fire at one rate, interrupt as planned, wait until everything sent is stored.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use loadtest_report::{ConnectionReport, Extra, Fault, rounded};

use crate::harness::Harness;
use crate::plan::{Load, Plan};
use crate::progress::Progress;
/// Runs of at least this length begin when broker and database are at rest and the registries are
/// stored: the cost of a start is not the cost of the load.
const SETTLED_FIRST: Duration = Duration::from_secs(10);
/// How long a restarting Home Assistant is away.
const HOME_DOWN: Duration = Duration::from_millis(500);
/// Events fired without a subscriber are never sent. Those that will be sent are within this time,
/// however busy the machine.
const QUIET: Duration = Duration::from_secs(2);
/// Nothing more will come when the count has not moved for this long.
const STALLED: Duration = Duration::from_secs(20);
/// Replaces [`STALLED`] where a killed connection leaves open how many events are to come.
const SETTLED: Duration = Duration::from_secs(5);

/// Processes that report no more events for this long may have forgotten some by a restart.
const SAID_NOTHING: Duration = Duration::from_secs(1);
const ASK: Duration = Duration::from_millis(50);

/// What happened while events were fired and stored.
#[derive(Debug)]
pub struct Drive {
    pub(crate) seconds: f64,
    pub(crate) drain_s: f64,
    /// Events that the rate asked for.
    pub(crate) asked: f64,
    /// Events that could not be sent because of restarts on request.
    pub(crate) excused: f64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) killed: BTreeSet<u32>,
    pub(crate) connections: ConnectionReport,
    /// For the report.
    pub(crate) extra: Extra,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Interruption {
    RestartProcesses,
    RollWorkers,
    CloseHome,
    KillHome,
}

/// Fires events, interrupts as planned, waits until everything sent is stored.
///
/// # Errors
/// When something does not come back, or the database cannot be read.
pub async fn drive(harness: &mut Harness, progress: &Progress) -> anyhow::Result<Drive> {
    let plan = harness.plan().clone();
    let duration = match &plan.load {
        Load::House(duration) | Load::LoopedCapture(_, duration) => *duration,
        Load::Capture(capture) => Duration::from_secs_f64(capture.events() as f64 / plan.rate),
        Load::PacedCapture(capture) => capture.lasts(),
    };
    if duration >= SETTLED_FIRST {
        harness.at_rest().await;
    }
    let begun = Instant::now();
    let mut firing = harness.fire();
    let (mut faults, mut killed, mut excused) = (Vec::new(), BTreeSet::new(), 0.0);
    for (at, interruption) in interruptions(&plan, duration) {
        while begun.elapsed() < at {
            show(harness, progress, begun);
            tokio::time::sleep((at - begun.elapsed().min(at)).min(Duration::from_millis(200)))
                .await;
        }
        let fault = interrupt(harness, interruption, begun, &mut killed).await?;
        progress.step(&fault.to_string());
        excused += fault.events_not_sent as f64;
        if interruption == Interruption::CloseHome {
            // Nothing fires while it is away.
            excused += plan.rate * HOME_DOWN.as_secs_f64();
        }
        faults.push(fault);
    }
    loop {
        show(harness, progress, begun);
        match tokio::time::timeout(Duration::from_millis(200), &mut firing).await {
            Ok(fired) => {
                fired?;
                break;
            }
            Err(_) => continue,
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let asked = match plan.load {
        // Captured events of other types than state_changed are fired, and not in the ledger.
        Load::Capture(_) | Load::PacedCapture(_) | Load::LoopedCapture(..) => {
            harness.fired() as f64
        }
        Load::House(_) => plan.rate * duration.as_secs_f64(),
    };
    let (said_s, is_all) = await_reported(harness, progress).await;
    if is_all {
        harness.end_load();
    }
    let drain_s = said_s + drain(harness, progress, !killed.is_empty()).await?;
    let again = faults
        .iter()
        .filter(|fault| fault.subscribed_after_s.is_some());
    let connections = connections(harness, again.count() as u64);
    Ok(Drive {
        seconds,
        drain_s,
        asked,
        excused,
        faults,
        killed,
        connections,
        extra: Extra::default(),
    })
}

fn interruptions(plan: &Plan, duration: Duration) -> Vec<(Duration, Interruption)> {
    let restarts = plan
        .restarts_at
        .iter()
        .map(|at| (*at, Interruption::RestartProcesses));
    let rolling = plan.rolling_restart_at.into_iter();
    let rolling = rolling.map(|at| (at, Interruption::RollWorkers));
    let step = duration / (plan.home_restarts + 1);
    let home = (1..=plan.home_restarts).map(|number| {
        let odd = number % 2 == 1;
        let what = if odd {
            Interruption::CloseHome
        } else {
            Interruption::KillHome
        };
        (step * number, what)
    });
    let mut all: Vec<_> = restarts.chain(rolling).chain(home).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

async fn interrupt(
    harness: &mut Harness,
    interruption: Interruption,
    begun: Instant,
    killed: &mut BTreeSet<u32>,
) -> anyhow::Result<Fault> {
    let not_sent = |harness: &Harness| {
        let sent = harness.sent();
        harness.fired().saturating_sub(sent)
    };
    let (at_s, not_sent_before) = (begun.elapsed().as_secs_f64(), not_sent(harness));
    let since = Instant::now();
    let (fault, exits) = match interruption {
        Interruption::RestartProcesses => ("restart", harness.restart_processes().await?),
        Interruption::RollWorkers => ("rolling-restart", harness.roll_workers().await?),
        Interruption::CloseHome => {
            harness.restart_home(false, HOME_DOWN).await?;
            ("home-close", Vec::new())
        }
        Interruption::KillHome => {
            killed.insert(harness.restart_home(true, HOME_DOWN).await?);
            ("home-kill", Vec::new())
        }
    };
    let (until_s, subscribed_after_s) = match interruption {
        // The producer goes on.
        Interruption::RollWorkers => (Some(rounded(begun.elapsed().as_secs_f64())), None),
        _ => (None, Some(rounded(since.elapsed().as_secs_f64()))),
    };
    Ok(Fault {
        fault: fault.to_owned(),
        at_s: rounded(at_s),
        until_s,
        subscribed_after_s,
        events_not_sent: not_sent(harness).saturating_sub(not_sent_before),
        exits,
    })
}

pub(crate) fn show(harness: &Harness, progress: &Progress, begun: Instant) {
    progress.show(|| {
        let queues = harness.queues();
        let waiting = queues.map_or(String::new(), |queues| {
            format!(", {} batches waiting", queues.depth())
        });
        let elapsed = begun.elapsed().as_secs();
        format!(
            "{elapsed:>4} s: fired {}, sent {}{waiting}",
            harness.fired(),
            harness.sent()
        )
    });
}

/// Waits until the processes report as many stored events as were sent, or report no more; returns how long that took, in seconds, and whether it is all. To count points in the database
/// is a load of its own, of seconds where there are millions: what is measured ends here.
pub(crate) async fn await_reported(harness: &Harness, progress: &Progress) -> (f64, bool) {
    let begun = Instant::now();
    let (mut last, mut moved, mut is_all) = (0, begun, false);
    while !is_all && moved.elapsed() < SAID_NOTHING {
        let asked = Instant::now();
        let said = harness.reported_stored().await;
        let sent = harness.sent();
        progress.show(|| format!("{said} of {sent} events stored"));
        is_all = said >= sent;
        if said > last {
            (last, moved) = (said, asked);
        }
        if !is_all {
            tokio::time::sleep((asked.elapsed() * 4).max(ASK)).await;
        }
    }
    (begun.elapsed().as_secs_f64(), is_all)
}

/// Waits until as many points are stored as events were sent; returns how long that took, in
/// seconds, nothing if the first count finds them.
pub(crate) async fn drain(
    harness: &Harness,
    progress: &Progress,
    may_fall_short: bool,
) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let (mut last, mut moved) = ((0, 0), Instant::now());
    let mut is_first = true;
    loop {
        let asked = Instant::now();
        let (sent, stored) = (harness.sent(), harness.stored().await?);
        progress.show(|| format!("stored {stored} of {sent}"));
        let is_all = sent == harness.fired() || last == (sent, stored) && moved.elapsed() > QUIET;
        if stored >= sent && is_all {
            break;
        }
        is_first = false;
        if last != (sent, stored) {
            (last, moved) = ((sent, stored), Instant::now());
        }
        let patience = if may_fall_short { SETTLED } else { STALLED };
        if moved.elapsed() > patience || begun.elapsed() > harness.plan().drain_max {
            progress.step(&format!("no longer waiting: {stored} of {sent} stored"));
            break;
        }
        // Counting must not become a load of its own.
        tokio::time::sleep((asked.elapsed() * 4).max(Duration::from_millis(100))).await;
    }
    Ok(if is_first {
        0.0
    } else {
        begun.elapsed().as_secs_f64()
    })
}

/// What all homes see together; `again` is the number of reasons to connect again.
pub(crate) fn connections(harness: &Harness, again: u64) -> ConnectionReport {
    let mut report = ConnectionReport {
        authentications_expected: harness.plan().homes as u64 + again,
        ..ConnectionReport::default()
    };
    for stats in harness.all_home_stats() {
        report.authentications += stats.authentications;
        report.connections_open += stats.connections_open;
        report.subscriptions += stats
            .subscriptions
            .get("state_changed")
            .copied()
            .unwrap_or_default();
    }
    report
}
