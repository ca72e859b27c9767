//! Replay of captures.

use std::{collections::HashSet, time::Duration};

use ha_simulator::{Replay, ReplayError};
use serde_json::{Value, json};

use crate::client::{Client, identity, micros, sent, simulator};

fn state(state: &str, level: u32, changed: &str, updated: &str) -> Value {
    let time = |time: &str| format!("2026-11-21T21:42:{time}+00:00");
    json!({"entity_id": "light.desk", "state": state, "attributes": {"brightness": level, "name": "Désk \"1\""},
        "last_changed": time(changed), "last_updated": time(updated),
        "context": {"id": "01M800YMQRY4R2V1GW4SXS4K9K", "parent_id": null, "user_id": null}})
}

fn change(old: &Value, new: &Value, fired: &str) -> Value {
    json!({"event_type": "state_changed",
        "data": {"entity_id": "light.desk", "old_state": old, "new_state": new},
        "origin": "LOCAL", "time_fired": format!("2026-11-21T21:42:{fired}+00:00"),
        "context": {"id": "01M800YMQRY4R2V1GW4SXS4K9K", "parent_id": null, "user_id": null}})
}

/// Creation, a change, a change of attributes alone and a removal; a message, an array and a bare
/// event; results and other events between.
fn capture() -> String {
    let first = state("off", 0, "01.000001", "01.000001");
    let second = state("on", 10, "02.000002", "02.000002");
    let third = state("on", 20, "02.000002", "03.000003");
    let other = json!({"event_type": "call_service", "data": {"domain": "light", "n": 1.50},
        "origin": "LOCAL", "time_fired": "2026-11-21T21:42:02.5+00:00", "context": null});
    let message = |event: &Value| json!({"id": 1, "type": "event", "event": event});
    let lines = [
        json!({"id": 1, "type": "result", "success": true, "result": null}),
        message(&change(&Value::Null, &first, "01.000001")),
        json!([
            message(&change(&first, &second, "02.000002")),
            message(&other)
        ]),
        change(&second, &third, "03.000003"),
        message(&change(&third, &Value::Null, "04.000004")),
    ];
    lines.map(|line| line.to_string()).join("\n\n")
}

#[tokio::test]
async fn fresh_times_in_a_chain_over_loops() {
    let replay = Replay::parse(&capture()).unwrap();
    assert_eq!((replay.events(), replay.skipped()), (5, 1));
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    client.ask(json!({"type": "subscribe_events"})).await;
    let started = jiff::Timestamp::now().as_microsecond();
    let fired = simulator
        .replay(replay.looping(), 500.0, Some(Duration::from_millis(60)))
        .await
        .unwrap();
    assert_eq!(fired, 30);
    let events = client.events(30).await;
    let mut previous = Value::Null;
    let mut times = HashSet::new();
    for (index, message) in events.iter().enumerate() {
        let event = &message["event"];
        assert!(micros(&event["time_fired"]) >= started);
        if index % 5 == 2 {
            assert_eq!(event["event_type"], "call_service");
            assert_eq!(event["data"], json!({"domain": "light", "n": 1.5}));
            continue;
        }
        let (old, new) = (&event["data"]["old_state"], &event["data"]["new_state"]);
        assert_eq!(old, &previous);
        assert!(times.insert(identity(message).1));
        previous = new.clone();
        match index % 5 {
            4 => assert!(new.is_null()),
            3 => assert_eq!(new["last_changed"], old["last_changed"]),
            _ => assert_eq!(new["last_changed"], new["last_updated"]),
        }
        if !new.is_null() {
            assert_eq!(new["last_updated"], event["time_fired"]);
            assert_eq!(new["attributes"]["name"], "Désk \"1\"");
        }
    }
    let received: Vec<_> = events
        .iter()
        .filter(|e| e["event"]["event_type"] == "state_changed")
        .map(identity)
        .collect();
    assert_eq!(sent(&simulator), received);
}

#[tokio::test]
async fn verbatim_bytes() {
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    client.subscribe().await;
    let replay = Replay::parse(&capture()).unwrap().verbatim();
    assert_eq!(simulator.replay(replay, 100_000.0, None).await.unwrap(), 5);
    for line in capture()
        .lines()
        .filter(|line| line.contains("state_changed"))
    {
        let line: Value = serde_json::from_str(line).unwrap();
        let event = match &line {
            Value::Array(messages) => &messages[0]["event"],
            line => line.get("event").unwrap_or(line),
        };
        let expected = format!(r#"{{"type":"event","event":{event},"id":1}}"#);
        assert_eq!(client.text().await.unwrap(), expected);
    }
    let ledger = simulator.ledger().events();
    assert_eq!(ledger.len(), 4);
    let third = "2026-11-21T21:42:03.000003Z"
        .parse::<jiff::Timestamp>()
        .unwrap();
    assert_eq!(ledger[2].time_us, third.as_microsecond());
    assert_eq!(ledger[3].state, None);
}

#[tokio::test]
async fn captures_that_are_none() {
    assert!(matches!(Replay::parse("\n"), Err(ReplayError::Empty)));
    let broken = format!("{}\n{{\"type\":", capture());
    let Err(ReplayError::Line { line, .. }) = Replay::parse(&broken) else {
        panic!("accepted")
    };
    assert_eq!(line, 10);
    let shape = r#"{"event_type":"state_changed","data":{"entity_id":1}}"#;
    assert!(matches!(
        Replay::parse(shape),
        Err(ReplayError::Line { line: 1, .. })
    ));
    assert!(matches!(
        Replay::read("no/such/file".as_ref()),
        Err(ReplayError::Read(_))
    ));
}
