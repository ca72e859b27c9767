//! What is no event: said, kept as a dead letter where there is something to keep, and the rest flows on.

use crate::support::{
    Files, home, missing_or_wrong, producer, wait_until_settled_beside, with, worker,
};
use ha_kit::{Place, Process, eventually};
use ha_simulator::Simulator;
use std::collections::BTreeMap;

/// Good events, and between them everything that is wrong.
async fn feed(home: &Simulator, process: &Process) {
    process.wait_until_ready().await;
    home.fire(20);
    for text in [
        "no json {",
        "[1, 2",
        r#"{"type":5}"#,
        "[]",
        "null",
        r#"{"type":"event"}"#,
    ] {
        assert_eq!(home.inject(text), 1, "one client with a subscription");
        home.fire(5);
    }
    let empty = r#"{"event_type":"state_changed","data":{}}"#;
    home.inject_event(empty, false).unwrap();
    home.fire(20);
    let time = "2026-01-01T00:00:00+00:00";
    let huge = serde_json::json!({
        "event_type": "state_changed",
        "data": {
            "entity_id": "sensor.huge", "old_state": null,
            "new_state": {
                "entity_id": "sensor.huge", "state": "1",
                "attributes": {"blob": "x".repeat(5 << 20)},
                "last_changed": time, "last_updated": time,
            },
        },
        "time_fired": time,
    });
    home.inject_event(&huge.to_string(), false).unwrap();
    home.fire(20);
    wait_until_settled_beside(process, home, 2, 1).await;
}

fn assert_dead_letters(dead_letters: &[BTreeMap<String, String>]) {
    assert_eq!(dead_letters.len(), 2, "{dead_letters:#?}");
    let of = |reason: &str| {
        dead_letters
            .iter()
            .find(|dead_letter| dead_letter["x-ha-reason"] == reason)
            .unwrap()
    };
    let oversized = of("oversized");
    assert_eq!(oversized["x-ha-stage"], "receive");
    for part in ["sensor.huge", "EVENT_BYTES_MAX", "262144"] {
        assert!(oversized["x-ha-error"].contains(part), "{oversized:?}");
    }
    assert_eq!(of("invalid_event")["x-ha-stage"], "enrich");
}

#[tokio::test]
async fn inline_keeps_dead_letters_in_the_spool_and_flows_on() {
    let (home, files) = (home().await, Files::new());
    let process = producer(&files.embedded(&home, "inline"));
    feed(&home, &process).await;
    process.wait_until_ready().await;
    let output = process.stop().await;
    assert_eq!(missing_or_wrong(&home, &files.points()), [""; 0]);
    assert_eq!(files.points().len() as u64, home.ledger().fired());
    assert_dead_letters(&files.dead_letters());
    assert_eq!(
        home.stats().connections_accepted,
        1,
        "never disconnected over it"
    );
    assert!(
        output.contains("no json {"),
        "an excerpt of what is no message: {output}"
    );
    assert!(output.contains("sensor.huge"), "{output}");
}

#[tokio::test]
async fn queue_keeps_dead_letters_at_the_broker_and_flows_on() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let worker = worker(&place);
    worker.wait_until_ready().await;
    let variables = with(
        files.variables(&home, "queue"),
        &[("AMQP_URL", place.amqp_url())],
    );
    let process = producer(&variables);
    feed(&home, &process).await;
    process.stop().await;
    eventually("two dead letters", async || {
        (place.depth("ha.dead-letters").await == 2).then_some(())
    })
    .await;
    eventually("all points", async || {
        (place.points().await.len() as u64 >= home.ledger().fired()).then_some(())
    })
    .await;
    worker.stop().await;
    assert_eq!(missing_or_wrong(&home, &place.points().await), [""; 0]);
    let (bodies, headers): (Vec<_>, Vec<_>) = place.dead_letters().await.into_iter().unzip();
    assert_dead_letters(&headers);
    assert!(
        bodies.iter().any(|body| body.len() > 5 << 20),
        "the oversized event, whole"
    );
    assert_eq!(files.dead_letters().len(), 0);
}
