//! From a driven and stopped system to its report.

use loadtest_engine::audit::{Audit, Expected, audit};
use loadtest_engine::dead_letters::DeadLetters;
use loadtest_engine::harness::Harness;
use loadtest_engine::plan::Mode;
use loadtest_engine::progress::Progress;
use loadtest_engine::reporting;
use loadtest_engine::usage::machine;
use loadtest_report::{ConnectionReport, DrillReport, Exit, Report, Verdict, rounded};

use super::fault::{FaultName, Trace};
use super::plan::DrillPlan;
use super::timeline::Driven;

/// The least share of the planned events that must have been fired.
const FIRED_SHARE_MIN: f64 = 0.95;

/// A broker says of each batch whether it took it. A database that is coming back may store a write
/// after its sender has given it up; when the spool then drops that batch, its events are reported
/// as lost and are there anyway. At most this part of the missing ones, a hundredth, may be.
const UNSURE_PART_MAX: u64 = 100;

/// Compares and judges; the processes have ended.
pub(super) async fn report(
    plan: &DrillPlan,
    harness: &Harness,
    driven: Driven,
    exits: Vec<Exit>,
    progress: &Progress,
) -> anyhow::Result<Report> {
    progress.step("reading the dead letters");
    let dead_letters = match harness.queues() {
        Some(queues) => DeadLetters::of_broker(queues.broker()).await?,
        None => DeadLetters::of_files(&harness.dead_letter_files()).await?,
    };
    progress.step("comparing the ledger with the database");
    let ledger = harness.ledger();
    let on_progress = |events| progress.show(|| format!("compared {events} events"));
    let expected = Expected::Fired(&dead_letters);
    let found = audit(&ledger, harness.database(), expected, on_progress).await?;
    let (run, sent) = (&plan.run, ledger.sent());
    let mut report = Report {
        events_sent: sent,
        events_stored: Some(found.stored),
        missing: Some(found.missing),
        duplicates: Some(found.duplicates),
        dead_lettered: Some(dead_letters.events()),
        seconds: rounded(driven.seconds),
        events_per_s: rounded(sent as f64 / driven.seconds.max(1e-3)),
        latency_ms: harness.latency(),
        queue_depth_max: harness.queues().map(|queues| queues.depth_max()),
        recovery_s: driven.recovery_s,
        faults: driven.faults,
        notes: harness.notes().to_vec(),
        // A broker that was started again has forgotten its counts.
        redelivered: None,
        redelivered_settled: None,
        unexplained: Some(found.unexplained),
        uncertain: Some(found.uncertain),
        events_fired: ledger.fired(),
        drain_s: rounded(driven.drain_s),
        home_assistant: driven.connections,
        exits,
        machine: Some(machine()),
        drill: Some(DrillReport {
            spool_events_max: driven.peaks.spool_events,
            spool_bytes_max: driven.peaks.spool_bytes,
            late_events_max: driven.peaks.late,
            lost_reported: driven.peaks.lost,
            requests_disturbed: harness.links().requests_disturbed(),
            revived: driven.revived,
            dead_letters: dead_letters.reasons.clone(),
            ..about(plan)
        }),
        ..reporting::empty(plan.scenario, run)
    };
    reporting::add_measured(&mut report, harness);
    if driven.events_not_sent > 0 {
        report.notes.push(format!(
            "{} events were fired while the producer was not subscribed; gap fill had to bring them",
            driven.events_not_sent
        ));
    }
    let required = plan.required_events(driven.seconds);
    judge(&mut report, plan, required, &found, &dead_letters);
    Ok(report)
}

/// Finds the verdict. `required` is how many events should have been fired.
fn judge(
    report: &mut Report,
    plan: &DrillPlan,
    required: f64,
    found: &Audit,
    dead_letters: &DeadLetters,
) {
    let mut reasons = Vec::new();
    let faults: Vec<FaultName> = plan.schedule.iter().map(|planned| planned.fault).collect();
    let has = |trace| faults.iter().any(|fault| fault.row().trace == trace);
    let empty = DrillReport::default();
    let drill = report.drill.as_ref().unwrap_or(&empty);
    let may_lose = has(Trace::Lost);
    let (missing, lost) = (found.missing - found.wrong, drill.lost_reported);
    let unsure = match plan.run.mode {
        Mode::Queue => 0,
        Mode::Service | Mode::Inline | Mode::Disabled => missing / UNSURE_PART_MAX,
    };
    if may_lose && lost > 0 && !(missing..=missing + unsure).contains(&lost) {
        reasons.push(format!(
            "{missing} fired events are missing and {lost} are reported as lost"
        ));
    }
    let dead_letters_due = has(Trace::DeadLetters);
    for (count, what) in [
        (
            if may_lose { 0 } else { missing },
            "fired events are neither in the database nor dead letters",
        ),
        (
            if may_lose { 0 } else { lost },
            "events are reported as lost",
        ),
        (
            found.wrong,
            "fired events are in the database with another state",
        ),
        (found.duplicates, "points too many for an event"),
        (found.unexplained, "points that no fired event explains"),
        (dead_letters.unreadable, "dead letters hold no event"),
        (
            if dead_letters_due {
                0
            } else {
                dead_letters.total
            },
            "dead letters, and nothing deserved one",
        ),
    ] {
        if count > 0 {
            reasons.push(format!("{count} {what}"));
        }
    }
    let left_a_trace = |trace| match trace {
        Trace::Spool if report.queue_depth_max.is_some() => drill.spool_events_max > 0,
        Trace::Spool | Trace::Lag => drill.late_events_max > 0,
        Trace::Requests => drill.requests_disturbed > 0,
        Trace::DeadLetters => dead_letters.total > 0,
        Trace::Lost => lost > 0,
        Trace::Itself => true,
    };
    // In a schedule a fault may come while another is not over yet.
    if let [only] = faults.as_slice()
        && !left_a_trace(only.row().trace)
    {
        reasons.push("the fault left no trace: the drill shows nothing".to_owned());
    }
    if !report.faults.is_empty() && report.recovery_s.is_none() {
        reasons.push("the system did not recover in the time of the drill".to_owned());
    }
    // Where events are reported as lost, examples of them are no reason by themselves.
    if !reasons.is_empty() {
        reasons.extend(found.examples.iter().cloned());
    }
    let fired = report.events_fired;
    if (fired as f64) < FIRED_SHARE_MIN * required {
        reasons.push(format!(
            "{fired} events were fired and {required:.0} should have been"
        ));
    }
    reasons.extend(report.ended_badly());
    if !faults.contains(&FaultName::WorkerPoison) {
        for (process, times) in &drill.revived {
            reasons.push(format!("{process} ended by itself ({times} times)"));
        }
    }
    let ConnectionReport {
        connections_open,
        subscriptions,
        ..
    } = report.home_assistant;
    if (connections_open, subscriptions) != (1, 1) {
        reasons.push(format!(
            "{connections_open} connections with {subscriptions} subscriptions at the end, \
             and there should be one with one"
        ));
    }
    report.verdict = match reasons.is_empty() {
        true => Verdict::Pass,
        false => Verdict::Fail,
    };
    report.reasons = reasons;
}

/// The report of a drill that was not made.
pub(super) fn not_possible(plan: &DrillPlan, reason: &str) -> Report {
    Report {
        verdict: Verdict::NotPossible,
        reasons: vec![format!("not possible here: {reason}")],
        machine: Some(machine()),
        drill: Some(about(plan)),
        ..reporting::empty(plan.scenario, &plan.run)
    }
}

/// What is known before anything has happened.
fn about(plan: &DrillPlan) -> DrillReport {
    DrillReport {
        drill: plan.name.clone(),
        about: plan.about.clone(),
        command: plan.command.clone(),
        ..DrillReport::default()
    }
}
