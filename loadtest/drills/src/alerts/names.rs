//! Alerts by name and severity.

use std::collections::BTreeSet;

use anyhow::Context as _;

/// Name and severity of each, once.
pub(super) fn named_once<T>(
    alerts: &[T],
    label: impl for<'a> Fn(&'a T, &str) -> Option<&'a str>,
) -> Vec<String> {
    let label = |alert, name| label(alert, name).unwrap_or_default();
    let names: BTreeSet<String> = alerts
        .iter()
        .map(|one| format!("{} ({})", label(one, "alertname"), label(one, "severity")))
        .collect();
    names.into_iter().collect()
}

/// Names and severities in Prometheus' answer about `ALERTS`.
pub(super) fn alerts_of(answer: &serde_json::Value) -> anyhow::Result<Vec<String>> {
    let found = answer["data"]["result"]
        .as_array()
        .with_context(|| format!("Prometheus says of its alerts: {answer}"))?;
    Ok(named_once(found, |one, name| one["metric"][name].as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn alerts_are_named_once_and_an_answer_without_a_result_is_an_error() {
        let one = json!({"metric": {"alertname": "A", "severity": "warning", "instance": "x"}});
        let answer = json!({"data": {"result": [one, one]}});
        assert_eq!(alerts_of(&answer).unwrap(), ["A (warning)"]);
        assert!(alerts_of(&json!({"status": "error"})).is_err());
    }
}
