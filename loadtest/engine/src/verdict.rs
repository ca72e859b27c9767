//! The comparison, and what it means: from a driven and stopped system to its report.

use loadtest_report::{ConnectionReport, Exit, Fault, Report, Verdict, rounded};

use crate::audit::{Audit, Expected, audit};
use crate::database::Database;
use crate::drive::Drive;
use crate::harness::Harness;
use crate::progress::Progress;
use crate::queues::Deliveries;
use crate::reporting;
use crate::usage::machine;

/// The least share of the planned events that must have been sent.
const SENT_SHARE_MIN: f64 = 0.95;

/// Compares and judges; the processes have ended.
///
/// # Errors
/// When the database or the broker cannot be read.
pub async fn report(
    scenario: &'static str,
    harness: &Harness,
    drive: Drive,
    exits: Vec<Exit>,
    progress: &Progress,
) -> anyhow::Result<Report> {
    let plan = harness.plan();
    progress.step("comparing the ledger with the database");
    let audited = !matches!(harness.database(), Database::Nowhere);
    let comparing = async {
        if !audited {
            return Ok(None);
        }
        let on_progress = |events| progress.show(|| format!("compared {events} events"));
        let expected = Expected::Sent(&drive.killed);
        let mut found = Audit::default();
        for (ledger, database) in harness.ledgers() {
            found.add(audit(&ledger, &database, expected, on_progress).await?);
        }
        Ok(Some(found))
    };
    let asking_broker = async {
        let Some(queues) = harness.queues() else {
            return Ok((None, None));
        };
        let deliveries = queues.deliveries(harness.client());
        let (dead_letters, deliveries) = tokio::try_join!(queues.dead_lettered(), deliveries)?;
        anyhow::Ok((Some(dead_letters), deliveries))
    };
    let (found, (dead_lettered, deliveries)) = tokio::try_join!(comparing, asking_broker)?;
    let (sent, fired) = (harness.sent(), harness.fired());
    let mut report = Report {
        events_sent: sent,
        events_stored: found.as_ref().map(|found| found.stored),
        missing: found.as_ref().map(|found| found.missing),
        duplicates: found.as_ref().map(|found| found.duplicates),
        dead_lettered,
        seconds: rounded(drive.seconds),
        events_per_s: rounded(sent as f64 / drive.seconds.max(1e-3)),
        latency_ms: harness.latency(),
        queue_depth_max: harness.queues().map(|queues| queues.depth_max()),
        faults: drive.faults,
        notes: harness.notes().to_vec(),
        redelivered: deliveries.map(|deliveries| deliveries.redelivered),
        redelivered_settled: deliveries.map(Deliveries::redelivered_settled),
        unexplained: found.as_ref().map(|found| found.unexplained),
        uncertain: found.as_ref().map(|found| found.uncertain),
        events_fired: fired,
        drain_s: rounded(drive.drain_s),
        home_assistant: drive.connections,
        exits,
        machine: Some(machine()),
        extra: drive.extra,
        ..reporting::empty(scenario, plan)
    };
    reporting::add_measured(&mut report, harness);
    if !audited {
        report
            .notes
            .push("nothing was audited: the null sink keeps nothing".to_owned());
    }
    judge(
        &mut report,
        drive.asked - drive.excused,
        found.unwrap_or_default(),
    );
    Ok(report)
}

/// Finds the verdict. `required` is how many events should have been sent.
fn judge(report: &mut Report, required: f64, found: Audit) {
    let mut reasons = Vec::new();
    let mut none = |count: u64, what: &str| {
        if count > 0 {
            reasons.push(format!("{count} {what}"));
        }
    };
    none(
        found.missing - found.wrong,
        "sent events are not in the database",
    );
    none(
        found.wrong,
        "sent events are in the database with another state",
    );
    none(found.duplicates, "points too many for an event");
    none(found.unexplained, "points that no fired event explains");
    none(
        report.dead_lettered.unwrap_or_default(),
        "dead letters, and nothing deserved one",
    );
    none(
        report.redelivered_settled.unwrap_or_default(),
        "batches were settled and came again",
    );
    let rolled = |fault: &Fault| fault.fault == "rolling-restart";
    if report.faults.iter().any(rolled) && report.redelivered_settled.is_none() {
        reasons.push(
            "the broker was not asked whether settled batches came again; give \
             --rabbitmq-management-url"
                .to_owned(),
        );
    }
    reasons.extend(found.examples);
    if (report.events_sent as f64) < SENT_SHARE_MIN * required {
        let sent = report.events_sent;
        reasons.push(format!(
            "{sent} events were sent and {required:.0} should have been"
        ));
    }
    reasons.extend(report.ended_badly());
    for exit in report.asked_to_end().filter(|exit| exit.ended_by_itself) {
        reasons.push(format!("{} ended before it was asked to", exit.process));
    }
    let ConnectionReport {
        authentications,
        authentications_expected,
        connections_open,
        subscriptions,
    } = report.home_assistant;
    if authentications != authentications_expected {
        reasons.push(format!(
            "the producer logged in {authentications} times, and {authentications_expected} \
             times there was a reason to"
        ));
    }
    if (connections_open, subscriptions) != (report.homes, report.homes) {
        let homes = report.homes;
        reasons.push(format!(
            "{connections_open} connections with {subscriptions} subscriptions at the end, \
             and there should be one with one in each of {homes} homes"
        ));
    }
    report.verdict = if reasons.is_empty() {
        Verdict::Pass
    } else {
        Verdict::Fail
    };
    report.reasons = reasons;
}
