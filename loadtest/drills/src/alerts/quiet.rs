//! Nothing wrong: three workers under a steady load are restarted one after the other by SIGTERM, as a
//! deployment does, and no alert may come.
//!
//! Windows and pauses of the rules are as short as for the faults, and so two minutes are half an hour
//! of the shipped files; `Scale::QUIET` says what becomes of their limits.

use std::path::Path;
use std::time::{Duration, Instant};

use loadtest_engine::drive::drive;
use loadtest_engine::harness::Harness;
use loadtest_engine::plan::{Load, Plan};
use loadtest_engine::progress::Progress;
use loadtest_engine::run;
use loadtest_engine::topology::Topology;
use loadtest_report::{Report, Verdict};
use tokio_util::sync::CancellationToken;

use super::monitoring::Monitoring;
use super::names::named_once;
use super::receiver::{self, Arrival};
use super::render::Scale;

/// Of the rules' windows the longest is 240 s; what becomes pending at the end of a run fires
/// within the longest `for`, 60 s, or never.
const PENDING_MAX: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// What fires reaches the web hook within Alertmanager's waiting for company, 2 s, twice.
const DELIVERED: Duration = Duration::from_secs(4);

/// What there is to see when nothing is wrong.
#[derive(Debug)]
pub(super) struct Quiet {
    /// Of the load, with its audit.
    pub(super) report: Report,
    pub(super) heard: Heard,
}

/// What was heard meanwhile, each alert as name and severity.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Came to a web hook.
    pub(super) received: Vec<String>,
    /// Fired in Prometheus.
    pub(super) fired: Vec<String>,
    /// Was about to fire in Prometheus at some time, and did not need to.
    pub(super) pending: Vec<String>,
    /// What could not be waited for.
    unfinished: Vec<String>,
}

/// Runs it, from the start of a system of its own to the comparison of what is stored.
///
/// # Errors
/// When something cannot be started or read, or `interrupt` was cancelled; everything that was
/// started is stopped then.
pub(super) async fn prove(
    plan: Plan,
    deploy: &Path,
    progress: &Progress,
    interrupt: &CancellationToken,
) -> anyhow::Result<Quiet> {
    let mut heard = Heard::default();
    let driving = async |harness: &mut Harness, progress: &Progress| {
        let (arrivals, receiver) = receiver::listen().await?;
        progress.step("starting Prometheus and Alertmanager with the files of the deployment");
        let monitoring = Monitoring::start(harness, deploy, receiver.port(), &Scale::QUIET).await?;
        progress.step("nothing wrong: workers are restarted one after the other by SIGTERM");
        let driven = drive(harness, progress).await?;
        progress.step("waiting for alerts that were about to fire");
        heard = listen_on(harness, &monitoring).await?;
        heard.received = received(&arrivals.borrow());
        Ok(driven)
    };
    let report = Box::pin(run::run("steady", plan, progress, interrupt, driving)).await?;
    Ok(Quiet { report, heard })
}

/// Until nothing is pending any more: what still fires is heard of, too.
async fn listen_on(harness: &Harness, monitoring: &Monitoring) -> anyhow::Result<Heard> {
    let client = harness.client();
    let deadline = Instant::now() + PENDING_MAX;
    let mut heard = Heard::default();
    loop {
        let waiting = monitoring.alerts_now(client, "pending").await?;
        if waiting.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            let waiting = waiting.join(", ");
            heard.unfinished.push(format!("still pending: {waiting}"));
            break;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    heard.fired = monitoring.alerts_ever(client, "firing").await?;
    heard.pending = monitoring.alerts_ever(client, "pending").await?;
    if !heard.fired.is_empty() {
        tokio::time::sleep(DELIVERED).await;
    }
    Ok(heard)
}

fn received(arrivals: &[Arrival]) -> Vec<String> {
    named_once(arrivals, |arrival, name| {
        arrival.labels.get(name).map(String::as_str)
    })
}

/// The plan of the faults, quiet: more load, three workers with the settings that they have by
/// themselves, and nothing in between that could be disturbed.
pub(super) fn plan(of_faults: Plan, rate: f64, duration: Duration) -> Plan {
    Plan {
        workers: 3,
        rate,
        load: Load::House(duration),
        rolling_restart_at: Some(duration / 3),
        logs: of_faults.logs.map(|folder| folder.join("nothing-wrong")),
        topology: Topology::default(),
        ..of_faults
    }
}

impl Quiet {
    /// What was not as it should be: an alert, or what the audit does not let pass, which is an event
    /// that is missing or there twice, a settled batch that came again, a dead letter, a process that ended
    /// badly.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.heard.problems();
        if self.report.verdict != Verdict::Pass {
            problems.extend(self.report.reasons.iter().cloned());
        }
        let named = problems.into_iter();
        named
            .map(|problem| format!("nothing wrong: {problem}"))
            .collect()
    }
}

impl Heard {
    fn problems(&self) -> Vec<String> {
        let received = self.received.iter();
        let received = received.map(|alert| format!("{alert} came to the web hook"));
        let fired = self.fired.iter();
        let fired = fired.map(|alert| format!("{alert} fired in Prometheus"));
        let all = received.chain(fired);
        all.chain(self.unfinished.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_in_prometheus_is_enough_and_a_pending_one_is_not() {
        let heard = |field: fn(&mut Heard) -> &mut Vec<String>| {
            let mut heard = Heard::default();
            field(&mut heard).push("A (warning)".to_owned());
            heard.problems().len()
        };
        assert_eq!(heard(|heard| &mut heard.received), 1);
        assert_eq!(heard(|heard| &mut heard.fired), 1);
        assert_eq!(heard(|heard| &mut heard.unfinished), 1);
        assert_eq!(heard(|heard| &mut heard.pending), 0);
    }
}
