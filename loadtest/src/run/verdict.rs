//! The comparison, and what it means: from a driven and stopped system to its report.

use super::audit::{Audit, Expected, audit};
use super::database::Database;
use super::drive::Drive;
use super::harness::Harness;
use super::numbers::rounded;
use super::process::Exit;
use super::queues::Deliveries;
use super::report::{ConnectionReport, Fault, ProcessUsage, Report, Verdict};
use super::series::rss_ratio;
use super::usage::{Role, machine};
use crate::progress::Progress;

/// Of the events that should be sent, so many must have been.
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
        for (ledger, database) in harness.books() {
            found.add(audit(&ledger, &database, expected, on_progress).await?);
        }
        Ok(Some(found))
    };
    let asking_broker = async {
        let Some(queues) = harness.queues() else {
            return Ok((None, None));
        };
        let deliveries = queues.deliveries(harness.client());
        let (letters, deliveries) = tokio::try_join!(queues.dead_lettered(), deliveries)?;
        anyhow::Ok((Some(letters), deliveries))
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
        extra: drive.extra,
        ..Report::empty(scenario, plan)
    };
    report.take(harness);
    report.extra.insert("machine".to_owned(), machine().into());
    if !audited {
        report
            .notes
            .push("nothing was audited: the null sink keeps nothing".to_owned());
    }
    report.judge(drive.asked - drive.excused, found.unwrap_or_default());
    Ok(report)
}

impl Report {
    /// What was measured beside: the run over time, starts, the use of the machine.
    pub(super) fn take(&mut self, harness: &Harness) {
        let of = |role| harness.usage().of(role);
        self.series = harness.series();
        let process = |role| {
            let usage: ProcessUsage = of(role)?.into();
            let rss_ratio = rss_ratio(&self.series, role);
            Some(ProcessUsage { rss_ratio, ..usage })
        };
        (self.producer, self.worker) = (process(Role::Producer), process(Role::Worker));
        self.loadtest = process(Role::LoadTester);
        self.load_s = harness.usage().load_s().map(rounded);
        self.load_events = harness.usage().load_events();
        self.starts = harness.starts().to_vec();
        let cpu_s = |role| of(role).map(|usage| rounded(usage.cpu_s));
        let cpu_s_load = |role| of(role).map(|usage| rounded(usage.cpu_s_load));
        let rss_mb_max = |role| of(role).map(|usage| rounded(usage.rss_mb_max));
        let (broker, database) = (Role::Broker, Role::Database);
        (self.broker_cpu_s, self.database_cpu_s) = (cpu_s(broker), cpu_s(database));
        (self.broker_cpu_s_load, self.database_cpu_s_load) =
            (cpu_s_load(broker), cpu_s_load(database));
        (self.broker_rss_mb_max, self.database_rss_mb_max) =
            (rss_mb_max(broker), rss_mb_max(database));
    }

    /// All processes that got a SIGTERM.
    fn asked_to_end(&self) -> impl Iterator<Item = &Exit> {
        let by_faults = self.faults.iter().flat_map(|fault| &fault.exits);
        self.exits.iter().chain(by_faults)
    }

    /// What is wrong with how they ended.
    pub(super) fn ended_badly(&self) -> impl Iterator<Item = String> {
        let failed = self.asked_to_end().filter(|exit| exit.exit_code != Some(0));
        failed.map(|exit| {
            let code = exit
                .exit_code
                .map_or("a signal".to_owned(), |code| format!("code {code}"));
            format!("{} ended with {code} after SIGTERM", exit.process)
        })
    }

    /// Finds the verdict. `required` is how many events should have been sent.
    fn judge(&mut self, required: f64, found: Audit) {
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
            self.dead_lettered.unwrap_or_default(),
            "dead letters, and nothing deserved one",
        );
        none(
            self.redelivered_settled.unwrap_or_default(),
            "frames were settled and came again",
        );
        let rolled = |fault: &Fault| fault.fault == "rolling-restart";
        if self.faults.iter().any(rolled) && self.redelivered_settled.is_none() {
            reasons.push(
                "the broker was not asked whether settled frames came again; give \
                 --rabbitmq-management-url"
                    .to_owned(),
            );
        }
        reasons.extend(found.examples);
        if (self.events_sent as f64) < SENT_SHARE_MIN * required {
            let sent = self.events_sent;
            reasons.push(format!(
                "{sent} events were sent and {required:.0} should have been"
            ));
        }
        reasons.extend(self.ended_badly());
        for exit in self.asked_to_end().filter(|exit| exit.ended_by_itself) {
            reasons.push(format!("{} ended before it was asked to", exit.process));
        }
        let ConnectionReport {
            authentications,
            authentications_expected,
            connections_open,
            subscriptions,
        } = self.home_assistant;
        if authentications != authentications_expected {
            reasons.push(format!(
                "the producer logged in {authentications} times, and {authentications_expected} \
                 times there was a reason to"
            ));
        }
        if (connections_open, subscriptions) != (self.homes, self.homes) {
            let homes = self.homes;
            reasons.push(format!(
                "{connections_open} connections with {subscriptions} subscriptions at the end, \
                 and there should be one with one in each of {homes} homes"
            ));
        }
        self.verdict = if reasons.is_empty() {
            Verdict::Pass
        } else {
            Verdict::Fail
        };
        self.reasons = reasons;
    }
}
