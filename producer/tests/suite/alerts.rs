//! Quality alerts, accepted by a real Alertmanager, and by whatever else takes its format.

use crate::support::{Files, home, producer, with};
use ha_event::UtcMicros;
use ha_kit::{SOON, eventually};
use ha_services::{Service, Services};
use ha_simulator::Simulator;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

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
    eventually("the alert in the log", async || {
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
    eventually("both alerts at Alertmanager", async || {
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

/// Reads one request, of which only the body is of interest, and answers it.
async fn received(connection: TcpStream) -> Option<Value> {
    let mut connection = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await.ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    connection.write_all(answer).await.ok()?;
    serde_json::from_slice(&body).ok()
}

/// A webhook; the bodies that it was sent.
async fn webhook() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
    let received_by_now = Arc::clone(&bodies);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let body = received(connection).await;
            received_by_now.lock().unwrap().extend(body);
        }
    });
    (url, bodies)
}

/// Of the alerts of this name that were ever received, the severity, and whether it was over.
fn told(bodies: &Mutex<Vec<Value>>, name: &str) -> Vec<(String, bool)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let bodies = bodies.lock().unwrap();
    let alerts = bodies.iter().flat_map(|body| body.as_array().unwrap());
    alerts
        .filter(|alert| alert["labels"]["alertname"] == name)
        .map(|alert| {
            let ends = UtcMicros::parse(alert["endsAt"].as_str().unwrap()).unwrap();
            let is_over = ends.0 <= i64::try_from(now.as_micros()).unwrap();
            let severity = alert["labels"]["severity"].as_str().unwrap();
            (severity.to_owned(), is_over)
        })
        .collect()
}

/// Nothing of the stream can be read, so nothing of it is kept; then it can again.
#[tokio::test]
async fn a_webhook_is_told_that_events_are_not_kept_and_that_they_are_again() {
    let (home, files) = (home().await, Files::new());
    let (url, bodies) = webhook().await;
    let settings = [
        ("ALERT_WEBHOOK_URL", url),
        ("DATA_QUALITY_INTERVAL_S", "1".into()),
    ];
    let process = producer(&with(files.embedded(&home, "inline"), &settings));
    process.wait_until_ready().await;
    let name = "HaIngestorCaptureLow";
    eventually("the alert at the webhook", async || {
        for _ in 0..20 {
            home.inject("neither JSON nor anything");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        told(&bodies, name)
            .contains(&("critical".to_owned(), false))
            .then_some(())
    })
    .await;
    eventually("its end at the webhook", async || {
        home.fire(20);
        tokio::time::sleep(Duration::from_millis(200)).await;
        told(&bodies, name)
            .contains(&("critical".to_owned(), true))
            .then_some(())
    })
    .await;
    let status = process.status().await;
    let on = status["alerts"].as_array().unwrap();
    assert!(on.iter().all(|alert| alert["alert"] != name), "{status:#}");
    process.stop().await;
}
