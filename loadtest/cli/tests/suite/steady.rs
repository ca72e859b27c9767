//! Runs that must pass.

use serde_json::{Value, json};

use crate::support::{CONTRACT_KEYS, Place, capture, pass};

const EVENTS: u64 = 2_000;

fn assert_enough_was_sent(report: &Value) {
    let sent = report["events_sent"].as_u64().unwrap();
    assert!((EVENTS * 95 / 100..=EVENTS).contains(&sent), "{report:#}");
}

/// All modes with the v2 API are in `scenarios`.
#[tokio::test]
async fn other_sinks_store_every_event_once() {
    let place = Place::new().await;
    for (mode, sink) in [
        ("inline", "influxdb"),
        ("inline", "sqlite"),
        ("disabled", "sqlite"),
    ] {
        let arguments = format!("--mode {mode} --sink {sink} --rate 500 --seconds 4");
        let place = if sink == "sqlite" {
            Vec::new()
        } else {
            place.arguments("v1")
        };
        let report = pass(&arguments, &place).await;
        assert_enough_was_sent(&report);
        assert_eq!(
            (&report["mode"], &report["sink"]),
            (&json!(mode), &json!(sink))
        );
        let latency = |name: &str| report["latency_ms"][name].as_f64().unwrap();
        assert!(
            latency("p50") > 0.0 && latency("p50") <= latency("p95"),
            "{report:#}"
        );
        assert!(latency("p95") <= latency("p99") && latency("p99") <= latency("max"));
    }
}

#[tokio::test]
async fn with_no_addresses_it_brings_its_own_services() {
    let report = pass("--mode queue --workers 1 --rate 500 --seconds 4", &[]).await;
    assert_enough_was_sent(&report);
    let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    for key in CONTRACT_KEYS {
        assert!(
            keys.iter().any(|name| *name == key),
            "{key} is not in {report:#}"
        );
    }
    assert!(report["broker_cpu_s"].as_f64().unwrap() > 0.0, "{report:#}");
    assert!(
        report["database_cpu_s"].as_f64().unwrap() > 0.0,
        "{report:#}"
    );
    assert_eq!(report["exits"].as_array().unwrap().len(), 2, "{report:#}");
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_and_doubles_nothing() {
    let place = Place::new().await;
    let arguments = "--mode queue --rate 500 --seconds 6 --restart-at 2 --restart-at 4";
    let report = pass(arguments, &place.arguments("v2")).await;
    let faults = report["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 2);
    for fault in faults {
        assert_eq!(fault["fault"], "restart");
        let exits = fault["exits"].as_array().unwrap();
        assert_eq!(exits.len(), 3);
        assert!(
            exits.iter().all(|exit| exit["exit_code"] == 0),
            "{report:#}"
        );
    }
    assert_eq!(report["redelivered_settled"], 0);
}

#[tokio::test]
async fn a_restarting_home_finds_the_producer_again_on_one_connection() {
    let arguments = "--mode inline --sink sqlite --rate 300 --seconds 12 --home-restarts 4";
    let report = pass(arguments, &[]).await;
    let faults: Vec<&Value> = report["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| &fault["fault"])
        .collect();
    assert_eq!(
        faults,
        ["home-close", "home-kill", "home-close", "home-kill"]
    );
    let expected = json!({
        "authentications": 5, "authentications_expected": 5,
        "connections_open": 1, "subscriptions": 1,
    });
    assert_eq!(report["home_assistant"], expected);
}

#[tokio::test]
async fn a_capture_is_stored_as_it_was_replayed() {
    let place = Place::new().await;
    for mode in ["queue", "inline"] {
        let arguments = format!("--mode {mode} --rate 1000 --replay {}", capture().display());
        let report = pass(&arguments, &place.arguments("v2")).await;
        assert!(
            report["events_sent"].as_u64().unwrap() > 2_000,
            "{report:#}"
        );
    }
}

#[tokio::test]
async fn the_null_sink_shows_the_product_alone_and_nothing_is_said_to_be_audited() {
    let mut command = crate::support::loadtest();
    command.args([
        "run", "steady", "--json", "-", "--mode", "inline", "--sink", "null",
    ]);
    let output = command
        .args(["--rate", "500", "--seconds", "4"])
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_enough_was_sent(&report);
    for name in ["events_stored", "missing", "duplicates", "unexplained"] {
        assert_eq!(report[name], Value::Null, "{report:#}");
    }
    assert!(
        report["notes"][0]
            .as_str()
            .unwrap()
            .contains("nothing was audited"),
        "{report:#}"
    );
}
