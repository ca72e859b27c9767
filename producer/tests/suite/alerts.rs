//! Quality alerts, accepted by a real Alertmanager.

use crate::suite::process::{SOON, wait_for};
use crate::suite::support::{Files, home, producer, with};
use ha_services::{Service, Services};
use ha_simulator::Simulator;
use serde_json::Value;
use std::time::Duration;

/// The alerts of an instance that Alertmanager holds as firing, by name.
async fn firing(url: &str, instance: &str) -> Vec<(String, String)> {
    let url = format!("{url}/api/v2/alerts?filter=instance%3D{instance}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).timeout(SOON).send().await.unwrap();
    let alerts: Vec<Value> = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let mut named: Vec<_> = alerts
        .iter()
        .map(|alert| {
            let label = |name: &str| alert["labels"][name].as_str().unwrap().to_owned();
            let summary = alert["annotations"]["summary"].as_str().unwrap();
            assert!(summary.starts_with(instance), "{alert:#}");
            (label("alertname"), label("severity"))
        })
        .collect();
    named.sort();
    named
}

/// Twenty events, good or bad, of one entity.
fn fire(home: &Simulator, state: &str, second: u32) {
    for n in 0..20 {
        let time = format!(
            "2026-11-22T02:{:02}:{:02}.{n:06}+00:00",
            second / 60,
            second % 60
        );
        let json = serde_json::json!({
            "event_type": "state_changed",
            "data": {"entity_id": "switch.alerts", "old_state": null, "new_state": {
                "entity_id": "switch.alerts", "state": state, "attributes": {},
                "last_changed": time, "last_updated": time,
            }},
            "time_fired": time,
        });
        home.inject_event(&json.to_string(), false).unwrap();
    }
}

#[tokio::test]
async fn alertmanager_takes_what_is_on_and_what_is_over() {
    let services = Services::start_private(&[Service::Alertmanager])
        .await
        .unwrap();
    // Away when the alert is raised: the delivery is made good.
    services.kill9(Service::Alertmanager).await.unwrap();
    let (home, files) = (home().await, Files::new());
    let settings = [
        ("INSTANCE_NAME", "cabin".to_owned()),
        ("ALERT_WEBHOOK_URL", services.alertmanager_url()),
        ("DATA_QUALITY_INTERVAL_S", "1".into()),
    ];
    let process = producer(&with(files.embedded(&home, "inline"), &settings));
    process.wait_until_ready().await;
    wait_for("the alert in the log", async || {
        fire(&home, "sideways", 0);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let is_said = process
            .output()
            .contains("cannot be delivered to ALERT_WEBHOOK_URL");
        is_said.then_some(())
    })
    .await;
    let status = process.status().await;
    assert_eq!(status["alerts"].as_array().unwrap().len(), 2, "{status:#}");
    services.start_again(Service::Alertmanager).await.unwrap();
    let url = services.alertmanager_url();
    let critical = |name: &str| (name.to_owned(), "critical".to_owned());
    let both = vec![
        critical("HaIngestorErrorRateHigh"),
        critical("HaIngestorQualityScoreLow"),
    ];
    wait_for("both alerts at Alertmanager", async || {
        (firing(&url, "cabin").await == both).then_some(())
    })
    .await;
    let mut second = 1;
    let resolved = tokio::time::timeout(SOON, async {
        while !firing(&url, "cabin").await.is_empty() {
            fire(&home, "on", second);
            second += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    resolved.await.expect("resolved");
    let status = process.status().await;
    assert_eq!(status["alerts"], Value::Array(Vec::new()), "{status:#}");
    let output = process.stop().await;
    for said in [
        "alert: critical",
        "alert: resolved",
        "mean quality score of the events",
    ] {
        assert!(output.contains(said), "{said}: {output}");
    }
}
