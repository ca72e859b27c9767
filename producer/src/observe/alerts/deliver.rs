//! Alerts on their way to Alertmanager (`POST /api/v2/alerts`,
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>).
//!
//! What is delivered is always the whole of what is on, and of what has ended since the last
//! delivery: so that a delivery that failed is made good by the next, and there is never more to
//! deliver than there are rules.

use super::decide::{Change, RULES, Severity};
use ha_event::UtcMicros;
use ha_resilience::Backoff;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use url::Url;

/// Alertmanager forgets what is not told again.
const REPEAT: Duration = Duration::from_secs(60);
const VALID: Duration = Duration::from_secs(300);

const TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Path of Alertmanager's API, for an address without one.
const API_PATH: &str = "/api/v2/alerts";

/// An alert that is on, or has ended and is to be told so.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Index in [`RULES`].
    pub rule: usize,
    /// How bad.
    pub severity: Severity,
    /// The reading that raised it.
    pub value: f64,
    /// Since when.
    pub began: SystemTime,
    /// Until when.
    pub ended: Option<SystemTime>,
}

/// Takes a change in: one severity ends, another begins. There is one alert for a rule and severity.
pub fn apply(alerts: &mut Vec<Alert>, change: &Change, now: SystemTime) {
    for alert in alerts.iter_mut() {
        if alert.rule == change.rule && alert.ended.is_none() {
            alert.ended = Some(now);
        }
    }
    if let Some(severity) = change.to {
        alerts.retain(|alert| (alert.rule, alert.severity) != (change.rule, severity));
        alerts.push(Alert {
            rule: change.rule,
            severity,
            value: change.value,
            began: now,
            ended: None,
        });
    }
}

/// The body of a delivery.
#[must_use]
pub fn body(alerts: &[Alert], instance: &str, now: SystemTime) -> Value {
    alerts
        .iter()
        .map(|alert| {
            let rule = &RULES[alert.rule];
            json!({
                "labels": {
                    "alertname": rule.name,
                    "severity": alert.severity.as_str(),
                    "instance": instance,
                    "service": "ha-ingestor",
                },
                "annotations": {
                    "summary": format!("{instance}: {}", summary(alert.rule, alert.value)),
                    "description": rule.remedy,
                },
                "startsAt": time(alert.began),
                "endsAt": time(alert.ended.unwrap_or(now + VALID)),
            })
        })
        .collect()
}

/// What an alert says, for people.
#[must_use]
pub fn summary(rule: usize, value: f64) -> String {
    let rule = &RULES[rule];
    format!("{}: {value:.2} {}", rule.says, rule.unit)
}

fn time(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UtcMicros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)).to_string()
}

/// The address to deliver to: Alertmanager's API where only a server is named.
#[must_use]
pub fn endpoint(mut url: Url) -> Url {
    if matches!(url.path(), "" | "/") {
        url.set_path(API_PATH);
    }
    url
}

/// Delivers for as long as the process runs.
pub async fn deliver(
    client: reqwest::Client,
    url: Url,
    instance: String,
    alerts: watch::Sender<Vec<Alert>>,
) {
    let mut changed = alerts.subscribe();
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    let mut is_failing = false;
    loop {
        let current = changed.borrow_and_update().clone();
        if current.is_empty() {
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        }
        let body = body(&current, &instance, SystemTime::now());
        match post(&client, &url, &body).await {
            Ok(()) => {
                backoff.reset();
                is_failing = false;
                tracing::debug!(alerts = current.len(), "alerts were delivered");
                alerts.send_if_modified(|alerts| {
                    alerts.retain(|alert| alert.ended.is_none() || !current.contains(alert));
                    false
                });
                tokio::select! {
                    changed = changed.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(REPEAT) => {}
                }
            }
            Err(error) => {
                // One line an outage.
                if !is_failing {
                    tracing::warn!(
                        error,
                        "alerts cannot be delivered to ALERT_WEBHOOK_URL; trying again for ever"
                    );
                }
                is_failing = true;
                tokio::time::sleep(backoff.next_random()).await;
            }
        }
    }
}

async fn post(client: &reqwest::Client, url: &Url, body: &Value) -> Result<(), String> {
    let request = client.post(url.clone()).timeout(TIMEOUT).json(body);
    // The address may hold a password.
    let answer = request.send().await.map_err(|error| {
        let error = error.without_url();
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let words = answer.text().await.unwrap_or_default();
    let words: String = words.chars().take(300).collect();
    Err(format!("{status} {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alert_for_a_rule_and_severity_however_it_changes() {
        let change = |from, to| Change {
            rule: 0,
            from,
            to,
            value: 70.0,
        };
        let (warning, critical) = (Some(Severity::Warning), Some(Severity::Critical));
        let mut alerts = Vec::new();
        let at = |second: u64| UNIX_EPOCH + Duration::from_secs(second);
        for second in 0..100 {
            apply(&mut alerts, &change(None, warning), at(second * 10));
            apply(&mut alerts, &change(warning, critical), at(second * 10 + 1));
            apply(&mut alerts, &change(critical, None), at(second * 10 + 2));
        }
        let ended: Vec<_> = alerts.iter().map(|alert| alert.ended).collect();
        assert_eq!(ended, [Some(at(991)), Some(at(992))]);
        apply(&mut alerts, &change(None, critical), at(1_000));
        let body = body(&alerts, "home", at(1_000));
        assert_eq!(body[0]["endsAt"], "1970-01-01T00:16:31.000000Z");
        assert_eq!(body[1]["labels"]["severity"], "critical");
        assert_eq!(body[1]["startsAt"], "1970-01-01T00:16:40.000000Z");
        assert_eq!(body[1]["endsAt"], "1970-01-01T00:21:40.000000Z");
        assert_eq!(
            body[1]["annotations"]["summary"],
            "home: mean quality score of the events: 70.00 of 100"
        );
    }

    #[test]
    fn a_server_alone_is_an_alertmanager() {
        let endpoint = |text: &str| endpoint(text.parse().unwrap()).to_string();
        assert_eq!(endpoint("http://a:9093"), "http://a:9093/api/v2/alerts");
        assert_eq!(endpoint("http://a:9093/"), "http://a:9093/api/v2/alerts");
        assert_eq!(endpoint("http://a/hook?x=1"), "http://a/hook?x=1");
    }
}
