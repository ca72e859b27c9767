//! Faults on demand.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, End, eventually, identity, sent, simulator};

#[tokio::test]
async fn a_clean_close_delivers_what_is_pending() {
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    let mut undecided = Client::connect(&simulator).await.unwrap();
    undecided.message().await;
    client.subscribe().await;
    simulator.fire(500);
    let closing = tokio::spawn({
        let simulator = simulator.clone();
        async move { simulator.close_all_clean().await }
    });
    let mut received = Vec::new();
    let end = loop {
        match client.text().await {
            Ok(text) => received.push(identity(&serde_json::from_str::<Value>(&text).unwrap())),
            Err(end) => break end,
        }
    };
    let End::Closed(Some(frame)) = end else {
        panic!("no close frame: {end:?}")
    };
    assert_eq!(u16::from(frame.code), 1000);
    // The client's library answers the close when it is read on.
    client.end().await;
    closing.await.unwrap();
    assert!(matches!(undecided.end().await, End::Broken));
    assert_eq!(received.len(), 500);
    assert_eq!(sent(&simulator), received);
    assert_eq!(simulator.stats().connections_open, 0);
}

#[tokio::test]
async fn killed_connections_break_and_what_comes_later_is_not_sent() {
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    client.subscribe().await;
    simulator.fire(10);
    client.events(10).await;
    simulator.kill_all();
    simulator.fire(10);
    assert!(matches!(client.end().await, End::Broken));
    eventually("it is forgotten", || {
        simulator.stats().connections_open == 0
    })
    .await;
    let ledger = simulator.ledger();
    assert_eq!((ledger.fired(), ledger.sent()), (20, 10));
    assert!(
        ledger.events()[..10]
            .iter()
            .all(|event| event.connection == 1)
    );
}

#[tokio::test]
async fn ten_restarts_on_the_same_port() {
    let simulator = simulator().await;
    let url = simulator.url();
    let mut received = Vec::new();
    for round in 1..=10 {
        let mut client = Client::authenticated(&simulator).await;
        client.subscribe().await;
        simulator.fire(20);
        received.extend(client.events(20).await.iter().map(identity));
        let restarting = tokio::spawn({
            let simulator = simulator.clone();
            async move { simulator.restart(Duration::from_millis(50)).await }
        });
        assert!(matches!(client.end().await, End::Closed(_)));
        client.end().await;
        restarting.await.unwrap().unwrap();
        assert_eq!(simulator.stats().connections_accepted, round);
        assert_eq!(simulator.url(), url);
    }
    assert_eq!(sent(&simulator), received);
}

#[tokio::test]
async fn while_it_is_away_the_port_refuses() {
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    client.subscribe().await;
    let firing = simulator.run_rate(1_000.0, None);
    client.events(10).await;
    let away = tokio::spawn({
        let simulator = simulator.clone();
        async move { simulator.unreachable(Duration::from_millis(300)).await }
    });
    assert!(matches!(client.end().await, End::Broken));
    eventually("all are gone", || simulator.stats().connections_open == 0).await;
    assert!(Client::connect(&simulator).await.is_err());
    let fired = simulator.ledger().fired();
    eventually("the house lives on", || {
        simulator.ledger().fired() > fired + 50
    })
    .await;
    away.await.unwrap().unwrap();
    Client::authenticated(&simulator).await;

    // A restart is different: nothing is fired meanwhile, and nothing made up for.
    let restarting = tokio::spawn({
        let simulator = simulator.clone();
        async move { simulator.restart(Duration::from_millis(1_500)).await }
    });
    eventually("the port refuses", || {
        std::net::TcpStream::connect(simulator.address()).is_err()
    })
    .await;
    let (before, down) = (simulator.ledger().fired(), Instant::now());
    restarting.await.unwrap().unwrap();
    let fired = simulator.ledger().fired() - before;
    assert!(u128::from(fired) < down.elapsed().as_millis(), "{fired}");
    assert!(fired < 500, "{fired} events while it was down");
    firing.abort();
}

#[tokio::test]
async fn rubbish_reaches_every_subscriber_once() {
    let simulator = simulator().await;
    let mut idle = Client::authenticated(&simulator).await;
    let mut client = Client::authenticated(&simulator).await;
    client.subscribe().await;
    client.ask(json!({"type": "subscribe_events"})).await;
    let huge = format!(r#"{{"type":"event","x":"{}"}}"#, "y".repeat(5 << 20));
    for raw in ["not JSON", r#"{"wrong":"shape"}"#, &huge] {
        assert_eq!(simulator.inject(raw), 1);
        assert_eq!(client.text().await.unwrap(), raw);
    }
    assert_eq!(idle.ask(json!({"type": "ping"})).await["type"], "pong");
    assert!(idle.pending.is_empty());
}

#[tokio::test]
async fn injected_events_are_events() {
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    client.subscribe().await;
    let event = |state: &str| {
        let time = "2026-11-21T21:42:14.010254+00:00";
        json!({"event_type": "state_changed", "data": {"entity_id": "sensor.injected",
            "old_state": null, "new_state": {"entity_id": "sensor.injected", "state": state,
            "attributes": {}, "last_changed": time, "last_updated": time, "context": null}},
            "origin": "LOCAL", "time_fired": time, "context": null})
        .to_string()
    };
    simulator.inject_event(&event("1"), false).unwrap();
    simulator.inject_event(&event("2"), true).unwrap();
    let events = client.events(2).await;
    assert_eq!(events[0]["event"]["data"]["new_state"]["state"], "1");
    assert_eq!(identity(&events[1]), sent(&simulator)[0]);
    assert_eq!(simulator.ledger().fired(), 1);
    assert!(simulator.inject_event("{", true).is_err());
    assert!(
        simulator
            .inject_event(r#"{"event_type":"x","data":{}}"#, true)
            .is_err()
    );
}
