//! Quality alerts, for homes without Prometheus: to the log, and to Alertmanager or whatever takes
//! its format. Prometheus has its own rules (`deploy/prometheus`); nobody needs both.

mod decide;
mod deliver;
mod readings;

use crate::observe::quality::{Counts, Samples};
use decide::{Change, RULES, Severity};
use ha_settings::TlsSettings;
use readings::Judge;
use serde_json::{Value, json};
use std::time::{Instant, SystemTime};
use tokio::sync::watch;
use url::Url;

pub use deliver::{Alert, deliver, endpoint};

/// Raises and ends alerts.
#[derive(Debug)]
pub struct Alerting {
    judge: Judge,
    alerts: watch::Sender<Vec<Alert>>,
}

impl Alerting {
    /// No alert is on. `alerts` is where they are seen, and delivered from.
    #[must_use]
    pub fn new(alerts: watch::Sender<Vec<Alert>>) -> Self {
        Self {
            judge: Judge::new(Instant::now()),
            alerts,
        }
    }

    /// Judges the totals of now and the samples since the last call.
    pub fn observe(&mut self, counts: Counts, samples: &Samples) {
        let changes = self.judge.observe(Instant::now(), counts, samples);
        if changes.is_empty() {
            return;
        }
        let now = SystemTime::now();
        self.alerts.send_modify(|alerts| {
            for change in &changes {
                say(change);
                deliver::apply(alerts, change, now);
            }
        });
    }
}

fn say(change: &Change) {
    let rule = &RULES[change.rule];
    let (alert, remedy) = (rule.name, rule.remedy);
    let reading = deliver::summary(change.rule, change.value);
    match change.to {
        Some(Severity::Critical) => tracing::error!(alert, reading, remedy, "alert: critical"),
        Some(Severity::Warning) => tracing::warn!(alert, reading, remedy, "alert: warning"),
        None => tracing::info!(alert, reading, "alert: resolved"),
    }
}

/// `alerts` of `/status`: those that are on.
#[must_use]
pub fn status(alerts: &[Alert]) -> Value {
    let active = alerts.iter().filter(|alert| alert.ended.is_none());
    active
        .map(|alert| {
            let since = alert.began.duration_since(SystemTime::UNIX_EPOCH);
            json!({
                "alert": RULES[alert.rule].name,
                "severity": alert.severity.as_str(),
                "reading": deliver::summary(alert.rule, alert.value),
                "since": since.unwrap_or_default().as_secs(),
            })
        })
        .collect()
}

/// Delivers alerts to this address for as long as the process runs.
///
/// # Errors
/// Settings that the HTTP client cannot use.
pub fn delivery(
    url: Url,
    tls: &TlsSettings,
    instance: String,
    alerts: watch::Sender<Vec<Alert>>,
) -> Result<impl Future<Output = ()> + use<>, reqwest::Error> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.client.as_ref().clone())
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    Ok(deliver(client, endpoint(url), instance, alerts))
}
