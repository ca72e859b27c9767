//! Commands over the live connection.

use crate::home::{Home, event, options, run};
use ha_source::RequestError;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn requests_are_answered_between_events() {
    let mut home = Home::start().await;
    let mut source = run(options(&home));
    assert_eq!(
        source.requester.request("get_config", json!(null)).await,
        Err(RequestError::NotConnected),
        "nobody has accepted yet"
    );
    let mut conversation = home.next_ready().await;
    let id = conversation.subscriptions[0].0;
    source.expect(&["connected 2025.4.4"]).await;
    let ask = |command: &'static str, fields| {
        let requester = source.requester.clone();
        tokio::spawn(async move { requester.request(command, fields).await })
    };
    let config = ask("get_config", json!(null));
    let first = conversation.receive().await.unwrap();
    let registry = ask("config/area_registry/list", json!({"x": 1}));
    let second = conversation.receive().await.unwrap();
    let history = ask("history/history_during_period", json!({}));
    let third = conversation.receive().await.unwrap();
    assert_eq!(first, json!({"id": first["id"], "type": "get_config"}));
    assert_eq!(
        second,
        json!({"id": second["id"], "type": "config/area_registry/list", "x": 1})
    );
    assert!(second["id"].as_u64() > first["id"].as_u64());
    // In another order, in the middle of events.
    conversation
        .send(format!(
            r#"[{},{{"id":{},"type":"result","success":true,"result":null}},{},
                {{"id":{},"type":"result","success":true,"result":{{"version":"2025.4.4"}}}},
                {{"id":{},"type":"result","success":false,"error":{{"code":"invalid_format","message":"required key"}}}}]"#,
            event(id, 1),
            second["id"],
            event(id, 2),
            first["id"],
            third["id"]
        ))
        .await;
    assert_eq!(config.await.unwrap().unwrap(), r#"{"version":"2025.4.4"}"#);
    assert_eq!(registry.await.unwrap().unwrap(), "null");
    let refused = history.await.unwrap().unwrap_err();
    assert!(
        matches!(&refused, RequestError::Refused(error) if error.code == "invalid_format"),
        "{refused}"
    );
    source.expect(&[r#"{"n":1}"#, r#"{"n":2}"#]).await;
    drop(conversation);
    source.stop().await;
}

#[tokio::test]
async fn requests_without_an_answer_fail() {
    let mut home = Home::start().await;
    let source = run(options(&home));
    let mut conversation = home.next_ready().await;
    let mut state = source.state.clone();
    state
        .wait_for(|state| matches!(state, ha_source::ConnectionState::Connected { .. }))
        .await
        .unwrap();
    let soon = Duration::from_millis(50);
    assert_eq!(
        source
            .requester
            .request_within("get_config", json!(null), soon)
            .await,
        Err(RequestError::TimedOut(soon))
    );
    let first = conversation.receive().await.unwrap();
    let requester = source.requester.clone();
    let cut_off = tokio::spawn(async move { requester.request("get_config", json!(null)).await });
    conversation.receive().await.unwrap();
    // An answer that comes too late is nobody's.
    conversation
        .send(format!(
            r#"{{"id":{},"type":"result","success":true,"result":1}}"#,
            first["id"]
        ))
        .await;
    drop(conversation);
    assert_eq!(cut_off.await.unwrap(), Err(RequestError::Disconnected));
    source.stop().await;
}
