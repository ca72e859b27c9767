//! What is fired, what arrives, and what the ledger says of it.

use std::time::Duration;

use ha_simulator::{Simulator, SimulatorOptions};
use serde_json::json;

use crate::client::{Client, eventually, identity, sent, simulator};

#[tokio::test]
async fn over_a_clean_unsubscribe_sent_is_received() {
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    simulator.fire(100);
    let firing = simulator.run_rate(20_000.0, None);
    let subscription = client.subscribe().await;
    let mut received = client.events(3_000).await;
    let answer = json!({"type": "unsubscribe_events", "subscription": subscription});
    assert_eq!(client.ask(answer).await["success"], true);
    received.extend(client.pending.drain(..));
    // More is fired, and nothing of it arrives before the answer to a later command.
    let fired = simulator.ledger().fired();
    eventually("more is fired", || simulator.ledger().fired() > fired + 500).await;
    assert_eq!(client.ask(json!({"type": "ping"})).await["type"], "pong");
    assert!(client.pending.is_empty());
    firing.abort();
    let received: Vec<_> = received.iter().map(identity).collect();
    assert_eq!(sent(&simulator), received);
    let ledger = simulator.ledger();
    assert_eq!(ledger.sent(), received.len() as u64);
    assert!(ledger.fired() > ledger.sent() + 100);
    assert!(
        ledger
            .events()
            .iter()
            .all(|event| event.sent == (event.connection == 1))
    );
}

#[tokio::test]
async fn the_rate_is_open_loop() {
    let simulator = simulator().await;
    let fired = simulator
        .run_rate(5_000.0, Some(Duration::from_millis(700)))
        .await
        .unwrap();
    assert_eq!(fired, 3_500);
    assert_eq!(simulator.ledger().fired(), 3_500);

    // A client that never reads is cut, and slows nothing down.
    let mut client = Client::authenticated(&simulator).await;
    client.subscribe().await;
    let fired = simulator
        .run_rate(40_000.0, Some(Duration::from_secs(1)))
        .await
        .unwrap();
    assert_eq!(fired, 40_000);
    eventually("the slow client is cut", || {
        simulator.stats().connections_open == 0
    })
    .await;
    let ledger = simulator.ledger();
    assert!(ledger.sent() < 43_500, "all of {} were sent", ledger.sent());
    // What the kernel took is still there to read, and was counted as sent.
    let mut received = 0;
    while client.text().await.is_ok() {
        received += 1;
    }
    assert_eq!(received, ledger.sent());
}

#[tokio::test]
async fn the_rate_can_change() {
    let simulator = simulator().await;
    let firing = simulator.run_rate(0.0, None);
    assert_eq!(simulator.ledger().fired(), 0);
    simulator.set_rate(10_000.0);
    eventually("it fires", || simulator.ledger().fired() > 500).await;
    firing.abort();
}

#[tokio::test]
async fn a_client_too_far_behind_is_cut() {
    let options = SimulatorOptions {
        pending_messages_max: 100,
        ..SimulatorOptions::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let mut client = Client::authenticated(&simulator).await;
    client.subscribe().await;
    simulator.fire(101);
    client.end().await;
    eventually("it is forgotten", || {
        simulator.stats().connections_open == 0
    })
    .await;
    assert!(simulator.stats().subscriptions.is_empty());
    // The next one finds the home as it was.
    let mut client = Client::authenticated(&simulator).await;
    client.subscribe().await;
    simulator.fire(100);
    client.events(100).await;
}

#[tokio::test]
async fn states_are_those_of_the_last_events() {
    let options = SimulatorOptions {
        ha_version: "2024.4.0".to_owned(),
        ..SimulatorOptions::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let mut client = Client::authenticated(&simulator).await;
    client.subscribe().await;
    simulator.fire(2_000);
    let events = client.events(2_000).await;
    let states = client.ask(json!({"type": "get_states"})).await;
    let states = states["result"].as_array().unwrap();
    let last = |id: &str| {
        let of_entity = |e: &&serde_json::Value| e["event"]["data"]["entity_id"] == id;
        events
            .iter()
            .rev()
            .find(of_entity)
            .map(|e| &e["event"]["data"]["new_state"])
    };
    for state in states {
        assert_eq!(state["last_reported"], state["last_updated"]);
        if let Some(last) = last(state["entity_id"].as_str().unwrap()) {
            assert_eq!(last, state);
        }
    }
    let removed: Vec<_> = simulator
        .entity_ids()
        .into_iter()
        .filter(|id| last(id).is_some_and(serde_json::Value::is_null))
        .collect();
    assert_eq!(states.len() + removed.len(), 300);
}
