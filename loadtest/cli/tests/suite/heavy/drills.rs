//! Drills, short ones: whatever happens, no event is lost and none is there twice.

use ha_services::INFLUXDB_ORG;
use serde_json::Value;

use crate::support::{CONTRACT_KEYS, Place, loadtest};

/// Runs a drill and gives its report; it must have passed.
async fn drill(fault: &str, more: &[&str], place: &[String]) -> Value {
    let mut command = loadtest();
    command.args(["run", "drill", "--fault", fault, "--json", "-"]);
    command.args(["--rate", "400", "--seconds", "10"]);
    let output = command.args(more).args(place).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{fault}\n{text}\n{errors}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["verdict"], "pass", "{report:#}");
    assert_eq!(report["drill"], fault);
    for name in ["missing", "duplicates", "unexplained"] {
        assert_eq!(report[name], 0, "{name} of {report:#}");
    }
    for key in CONTRACT_KEYS {
        assert!(report.get(key).is_some(), "{key} is not in {report:#}");
    }
    let fired = report["events_fired"].as_u64().unwrap();
    assert!(fired >= 3_800, "{report:#}");
    assert!(report["recovery_s"].is_number(), "{report:#}");
    let fault = &report["faults"][0];
    assert!(
        fault["until_s"].as_f64() > fault["at_s"].as_f64(),
        "{report:#}"
    );
    report
}

fn stored_all_but(report: &Value, dead_letters: u64) {
    let (fired, stored) = (&report["events_fired"], &report["events_stored"]);
    assert_eq!(
        stored.as_u64().unwrap() + dead_letters,
        fired.as_u64().unwrap(),
        "{report:#}"
    );
}

#[tokio::test]
async fn a_killed_broker() {
    let report = drill("broker-kill", &[], &[]).await;
    stored_all_but(&report, 0);
    assert!(
        report["spool_events_max"].as_u64().unwrap() > 0,
        "{report:#}"
    );
}

#[tokio::test]
async fn a_broker_that_blocks_publishers() {
    let report = drill("broker-memory-alarm", &[], &[]).await;
    stored_all_but(&report, 0);
}

#[tokio::test]
async fn a_database_that_answers_503() {
    let place = Place::new().await;
    let report = drill("db-503", &[], &place.arguments("v2")).await;
    stored_all_but(&report, 0);
    assert!(
        report["requests_disturbed"].as_u64().unwrap() > 0,
        "{report:#}"
    );
    assert_eq!(report["dead_lettered"], 0);
}

#[tokio::test]
async fn a_killed_worker() {
    let place = Place::new().await;
    let report = drill("worker-kill-one", &[], &place.arguments("v1")).await;
    stored_all_but(&report, 0);
    assert_eq!(report["workers"], 3);
}

#[tokio::test]
async fn a_killed_producer() {
    let place = Place::new().await;
    let report = drill(
        "producer-kill",
        &["--mode", "inline"],
        &place.arguments("v2"),
    )
    .await;
    // The home went on: history brought what nobody was sent.
    stored_all_but(&report, 0);
    assert!(
        report["events_sent"].as_u64() < report["events_fired"].as_u64(),
        "{report:#}"
    );
}

#[tokio::test]
async fn a_cut_between_producer_and_broker() {
    let place = Place::new().await;
    let report = drill("net-producer-broker", &[], &place.arguments("v2")).await;
    stored_all_but(&report, 0);
}

#[tokio::test]
async fn a_type_conflict_makes_dead_letters_that_are_read() {
    let report = drill("db-type-conflict", &["--mode", "inline"], &[]).await;
    let dead_letters = report["dead_lettered"].as_u64().unwrap();
    assert!(dead_letters > 0, "{report:#}");
    stored_all_but(&report, dead_letters);
    assert_eq!(report["letters"]["sink_rejected"], dead_letters, "{report:#}");
}

#[tokio::test]
async fn what_cannot_be_made_is_said_and_not_imitated() {
    let attached = [
        "--amqp-url=amqp://guest:guest@127.0.0.1:1/x",
        "--influxdb-url=http://127.0.0.1:1",
        "--influxdb-token=x",
        &format!("--influxdb-org={INFLUXDB_ORG}"),
        "--influxdb-bucket=x",
    ]
    .map(str::to_owned);
    for (arguments, reason) in [
        (&["--mode", "inline"][..], "there is no broker in this mode"),
        (&[], "it disturbs the services, and these are somebody's"),
    ] {
        let mut command = loadtest();
        command.args(["run", "drill", "--fault", "broker-kill", "--json", "-"]);
        let output = command
            .args(arguments)
            .args(&attached)
            .output()
            .await
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{errors}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["verdict"], "not-possible");
        let said = report["reasons"][0].as_str().unwrap();
        assert!(said.starts_with("not possible here: "), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    let mut command = loadtest();
    command.args(["run", "drill", "--fault", "broker-kil"]);
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("broker-kill, "), "{errors}");
}
