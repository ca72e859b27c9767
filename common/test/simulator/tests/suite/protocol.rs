//! The WebSocket API as Home Assistant documents it.

use serde_json::json;

use crate::client::{Client, End, eventually, simulator};

#[tokio::test]
async fn the_token_decides() {
    let simulator = simulator().await;
    let mut client = Client::connect(&simulator).await.unwrap();
    assert_eq!(
        client.message().await,
        json!({"type": "auth_required", "ha_version": "2024.3.3"})
    );
    client
        .send(&json!({"type": "auth", "access_token": "wrong"}))
        .await;
    assert_eq!(
        client.message().await,
        json!({"type": "auth_invalid", "message": "Invalid access token or password"})
    );
    let End::Closed(Some(frame)) = client.end().await else {
        panic!("no close frame")
    };
    assert_eq!(u16::from(frame.code), 1000);
    assert_eq!(simulator.stats().auth_failures, 1);

    let mut client = Client::connect(&simulator).await.unwrap();
    client.message().await;
    client
        .send(&json!({"type": "auth", "access_token": simulator.token()}))
        .await;
    assert_eq!(
        client.message().await,
        json!({"type": "auth_ok", "ha_version": "2024.3.3"})
    );
    assert_eq!(simulator.stats().authentications, 1);
    assert_eq!(simulator.stats().connections_accepted, 2);
    drop(client);
    eventually("the client is forgotten", || {
        simulator.stats().connections_open == 0
    })
    .await;
}

#[tokio::test]
async fn other_paths_are_not_there() {
    let simulator = simulator().await;
    let url = format!("{}/api/other", simulator.url().replace("http:", "ws:"));
    let error = tokio_tungstenite::connect_async(url).await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
}

#[tokio::test]
async fn ids_must_rise() {
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    client.send(&json!({"id": 5, "type": "ping"})).await;
    assert_eq!(client.message().await, json!({"id": 5, "type": "pong"}));
    for id in [5, 4, -1] {
        client.send(&json!({"id": id, "type": "ping"})).await;
        assert_eq!(
            client.message().await,
            json!({"id": id, "type": "result", "success": false,
                "error": {"code": "id_reuse", "message": "Identifier values have to increase."}})
        );
    }
    // An unknown command does not use its id up.
    for _ in 0..2 {
        client.send(&json!({"id": 6, "type": "make_coffee"})).await;
        assert_eq!(
            client.message().await,
            json!({"id": 6, "type": "result", "success": false,
                "error": {"code": "unknown_command", "message": "Unknown command."}})
        );
    }
    for wrong in [
        json!({"type": "ping"}),
        json!({"id": 7}),
        json!({"id": "7", "type": "ping"}),
    ] {
        client.send(&wrong).await;
        let answer = client.message().await;
        assert_eq!(answer["error"]["code"], "invalid_format", "{answer}");
        assert_eq!(answer["error"]["message"], "Message incorrectly formatted.");
    }
    client
        .send(&json!([{"id": 8, "type": "ping"}, {"id": 9, "type": "ping"}]))
        .await;
    assert_eq!(client.message().await["id"], 8);
    assert_eq!(client.message().await["id"], 9);
}

#[tokio::test]
async fn what_is_not_json_ends_the_connection() {
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    client.send(&json!("x")).await;
    assert_eq!(client.message().await["error"]["code"], "invalid_format");
    use futures_util::SinkExt as _;
    client.socket().send("{".into()).await.unwrap();
    assert!(matches!(client.end().await, End::Closed(_)));
}

#[tokio::test]
async fn states_and_registries() {
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    let states = client.ask(json!({"type": "get_states"})).await;
    let states = states["result"].as_array().unwrap();
    assert_eq!(states.len(), 300);
    assert!(
        states
            .iter()
            .any(|state| state["entity_id"] == "weather.home")
    );
    let config = client.ask(json!({"type": "get_config"})).await;
    assert_eq!(config["result"]["version"], "2024.3.3");
    let mut registry = async |name: &str| {
        let answer = client
            .ask(json!({"type": format!("config/{name}_registry/list")}))
            .await;
        assert_eq!(answer["success"], true, "{answer}");
        answer["result"].as_array().unwrap().clone()
    };
    let (areas, floors) = (registry("area").await, registry("floor").await);
    let (devices, entities) = (registry("device").await, registry("entity").await);
    assert_eq!(registry("label").await.len(), 2);
    assert_eq!(entities.len(), 300);
    // Every reference leads somewhere.
    let has = |list: &[serde_json::Value], key: &str, id: &serde_json::Value| {
        id.is_null() || list.iter().any(|entry| &entry[key] == id)
    };
    assert!(
        entities
            .iter()
            .all(|entity| has(&devices, "id", &entity["device_id"]))
    );
    assert!(
        devices
            .iter()
            .all(|device| has(&areas, "area_id", &device["area_id"]))
    );
    assert!(
        areas
            .iter()
            .all(|area| has(&floors, "floor_id", &area["floor_id"]))
    );
    assert!(
        entities
            .iter()
            .all(|entity| has(states, "entity_id", &entity["entity_id"]))
    );
}

#[tokio::test]
async fn subscriptions_of_every_kind() {
    let simulator = simulator().await;
    let mut client = Client::authenticated(&simulator).await;
    let states = client.subscribe().await;
    let all = client.ask(json!({"type": "subscribe_events"})).await["id"]
        .as_u64()
        .unwrap();
    let registry = client
        .ask(json!({"type": "subscribe_events", "event_type": "area_registry_updated"}))
        .await;
    let registry = registry["id"].as_u64().unwrap();
    let open = simulator.stats().subscriptions;
    assert_eq!(
        (
            open["state_changed"],
            open["*"],
            open["area_registry_updated"]
        ),
        (1, 1, 1)
    );

    simulator.fire(1);
    let ids: Vec<_> = client
        .events(2)
        .await
        .iter()
        .map(|e| e["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [states, all]);
    simulator
        .fire_bus_event(
            "area_registry_updated",
            r#"{"action":"update","area_id":"x"}"#,
        )
        .unwrap();
    let events = client.events(2).await;
    let ids: Vec<_> = events.iter().map(|e| e["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [all, registry]);
    assert_eq!(events[0]["event"]["data"]["area_id"], "x");

    let unknown = client
        .ask(json!({"type": "unsubscribe_events", "subscription": 77}))
        .await;
    assert_eq!(
        unknown["error"],
        json!({"code": "not_found", "message": "Subscription not found."})
    );
    for id in [states, all] {
        let answer = client
            .ask(json!({"type": "unsubscribe_events", "subscription": id}))
            .await;
        assert_eq!(answer["success"], true);
    }
    simulator.fire(5);
    simulator
        .fire_bus_event("area_registry_updated", "{}")
        .unwrap();
    assert_eq!(client.events(1).await[0]["id"].as_u64(), Some(registry));
}

#[tokio::test]
async fn messages_coalesce_only_when_asked_to() {
    let simulator = simulator().await;
    let mut plain = Client::authenticated(&simulator).await;
    let mut coalescing = Client::authenticated(&simulator).await;
    let features = json!({"type": "supported_features", "features": {"coalesce_messages": 1}});
    assert_eq!(coalescing.ask(features).await["success"], true);
    plain.subscribe().await;
    coalescing.subscribe().await;
    for _ in 0..20 {
        simulator.fire(50);
    }
    let (one, other) = (plain.events(1_000).await, coalescing.events(1_000).await);
    assert_eq!(plain.arrays, 0);
    assert!(coalescing.arrays > 0);
    let event = |message: &serde_json::Value| message["event"].clone();
    assert_eq!(
        one.iter().map(event).collect::<Vec<_>>(),
        other.iter().map(event).collect::<Vec<_>>()
    );
    simulator.fire(1);
    let lone: serde_json::Value = serde_json::from_str(&coalescing.text().await.unwrap()).unwrap();
    assert_eq!(lone["type"], "event");
}
