//! Prometheus, its rules, and Alertmanager.

use crate::tools::{list, read, run, text, tool, yaml};
use serde_json::Value;
use std::collections::BTreeSet;

/// Names of contract section 6 (docs/reference.md), without the prefix.
const METRICS: [&str; 26] = [
    "backfilled_events_total",
    "backlog_seconds",
    "build_info",
    "dead_letters_total",
    "deliveries_in_flight",
    "enrich_events_total",
    "enrich_normalization_duration_seconds",
    "enrich_quality_score",
    "enrich_validation_errors_total",
    "event_latency_seconds",
    "events_direct_written_total",
    "events_filtered_total",
    "events_lost_total",
    "events_published_total",
    "route_state",
    "sink_available",
    "sink_points_written_total",
    "sink_retries_total",
    "sink_write_duration_seconds",
    "spool_bytes",
    "spool_events",
    "spool_oldest_age_seconds",
    "weather_lookups_total",
    "ws_connection_uptime_seconds",
    "ws_events_received_total",
    "ws_reconnections_total",
];

/// Recorded series, by the rules themselves.
pub fn records() -> BTreeSet<String> {
    rules()
        .iter()
        .filter_map(|rule| Some(rule["record"].as_str()?.to_owned()))
        .collect()
}

fn rules() -> Vec<Value> {
    let file = &yaml("deploy/prometheus/alerts.rules.yml")[0];
    list(&file["groups"])
        .iter()
        .flat_map(|group| list(&group["rules"]).to_vec())
        .collect()
}

/// Panics for a metric of ours that the product does not have.
pub fn assert_known_metrics(place: &str, expression: &str) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let records = records();
    for word in expression.split(|c| !is_part(c)) {
        if let Some(name) = word.strip_prefix("ha_ingestor_") {
            let bare = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|ending| name.strip_suffix(ending))
                .unwrap_or(name);
            assert!(
                METRICS.contains(&name) || METRICS.contains(&bare),
                "{place}: no metric {word}"
            );
        } else if word.starts_with("ha_ingestor:") {
            assert!(records.contains(word), "{place}: no recorded series {word}");
        }
    }
}

#[test]
fn promtool_accepts_configuration_and_rules_and_every_alert_fires_stays_silent_and_resolves() {
    run(tool("promtool").args(["check", "rules", "deploy/prometheus/alerts.rules.yml"]));
    run(tool("promtool").args([
        "check",
        "config",
        "--syntax-only",
        "deploy/prometheus/prometheus.yml",
    ]));
    run(tool("promtool").args(["test", "rules", "deploy/prometheus/alerts.test.yml"]));

    // And each alert, by severity, has a test in which it fires.
    let tests = &yaml("deploy/prometheus/alerts.test.yml")[0];
    let cases = list(&tests["tests"])
        .iter()
        .flat_map(|test| list(&test["alert_rule_test"]));
    let (mut fired, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for case in cases {
        let name = text(&case["alertname"]);
        if list(&case["exp_alerts"]).is_empty() {
            silent.insert(name.to_owned());
        }
        for alert in list(&case["exp_alerts"]) {
            fired.insert((
                name.to_owned(),
                text(&alert["exp_labels"]["severity"]).to_owned(),
            ));
        }
    }
    for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let name = text(&rule["alert"]).to_owned();
        assert!(
            silent.contains(&name),
            "{name} is never tested to be silent"
        );
        let severity = text(&rule["labels"]["severity"]).to_owned();
        assert!(
            fired.contains(&(name.clone(), severity.clone())),
            "{name} {severity} never fires"
        );
    }
}

#[test]
fn every_alert_tells_what_to_do_and_has_a_section_in_the_runbook() {
    let runbook = read("deploy/runbook.md");
    let mut named = BTreeSet::new();
    for rule in rules() {
        let expression = text(&rule["expr"]);
        let Some(alert) = rule["alert"].as_str() else {
            assert_known_metrics(text(&rule["record"]), expression);
            continue;
        };
        assert_known_metrics(alert, expression);
        assert!(
            ["warning", "critical"].contains(&text(&rule["labels"]["severity"])),
            "{alert}"
        );
        for part in ["summary", "cause", "first_step"] {
            assert!(
                text(&rule["annotations"][part]).len() > 20,
                "{alert}: no {part}"
            );
        }
        let link = format!("deploy/runbook.md#{}", alert.to_lowercase());
        assert_eq!(text(&rule["annotations"]["runbook_url"]), link);
        assert!(
            runbook.contains(&format!("\n## {alert}\n")),
            "{alert} is not in the runbook"
        );
        named.insert(alert.to_owned());
    }
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    let sections = sections.filter(|section| *section != "Sizing");
    for section in sections {
        assert!(
            named.contains(section),
            "the runbook speaks of {section}, which is no alert"
        );
    }
}

#[test]
fn alertmanager_takes_its_configuration_and_routes_every_alert_where_it_belongs() {
    let configuration = "deploy/alertmanager/alertmanager.yml";
    run(tool("amtool").args(["check-config", configuration]));
    let routes = read("deploy/alertmanager/routes.test");
    let mut routed = BTreeSet::new();
    for case in routes
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let mut words = case.split(' ');
        let receiver = words.next().unwrap();
        let labels: Vec<&str> = words.collect();
        run(tool("amtool")
            .args(["config", "routes", "test", "--config.file", configuration])
            .arg(format!("--verify.receivers={receiver}"))
            .args(&labels));
        routed.insert((labels[0].to_owned(), labels[1].to_owned()));
    }
    for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let case = (
            format!("alertname={}", text(&rule["alert"])),
            format!("severity={}", text(&rule["labels"]["severity"])),
        );
        assert!(routed.contains(&case), "no route is tested for {case:?}");
    }
}
