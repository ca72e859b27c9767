//! What comes out of a connection: everything, in order, whatever it is wrapped in.

use crate::home::{Home, event, options, result, run};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test]
async fn coalesced_events_and_bad_messages_come_out_in_order() {
    let mut home = Home::start().await;
    let mut source = run(options(&home));
    let mut conversation = home.next_ready().await;
    let (state_changed, call_service) = (
        conversation.subscriptions[0].0,
        conversation.subscriptions[1].0,
    );
    conversation.event(0).await;
    conversation
        .send(format!(
            "[{},{},17,{}]",
            event(state_changed, 1),
            event(call_service, 2),
            event(state_changed, 3)
        ))
        .await;
    conversation.send("no JSON at all").await;
    conversation
        .send(r#"{"type":"of_a_version_to_come"}"#)
        .await;
    conversation.event(4).await;
    source
        .expect(&[
            "connected 2025.4.4",
            r#"{"n":0}"#,
            r#"{"n":1}"#,
            r#"{"n":2}"#,
            "bad 1",
            r#"{"n":3}"#,
            "bad 1",
            r#"{"n":4}"#,
        ])
        .await;
    assert_eq!(source.counters.events_received.load(Ordering::Relaxed), 5);
    assert_eq!(source.counters.messages_bad.load(Ordering::Relaxed), 2);
    drop(conversation);
    source.stop().await;
}

#[tokio::test]
async fn a_shutdown_hands_on_everything_sent_before_it_was_confirmed() {
    let mut home = Home::start().await;
    let mut source = run(options(&home));
    let mut conversation = home.next_ready().await;
    conversation.event(0).await;
    source.expect(&["connected 2025.4.4", r#"{"n":0}"#]).await;
    source.shutdown.cancel();
    let mut cancelled = Vec::new();
    for (id, _) in conversation.subscriptions.clone() {
        let command = conversation.receive().await.unwrap();
        assert_eq!(command["type"], "unsubscribe_events");
        assert_eq!(command["subscription"], json!(id));
        cancelled.push(command);
    }
    for number in 1..500 {
        conversation.event(number).await;
    }
    conversation
        .send(result(&cancelled[0], true).to_string())
        .await;
    let last = event(conversation.subscriptions[1].0, 500);
    conversation
        .send(format!("[{last},{}]", result(&cancelled[1], false)))
        .await;
    // Only now it closes.
    assert_eq!(conversation.receive_close().await, Some(1005));
    conversation.close().await;
    for number in 1..=500 {
        assert_eq!(source.next().await, format!(r#"{{"n":{number}}}"#));
    }
    source.expect(&["disconnected: shutting down", "end"]).await;
    source.task.await.unwrap();
    assert_eq!(home.accepted(), 1);
}

#[tokio::test]
async fn a_shutdown_without_an_answer_ends_all_the_same() {
    let mut home = Home::start().await;
    let mut options = options(&home);
    options.unsubscribe_timeout = Duration::from_millis(100);
    let mut source = run(options);
    let mut conversation = home.next_ready().await;
    source.expect(&["connected 2025.4.4"]).await;
    source.shutdown.cancel();
    assert_eq!(
        conversation.receive().await.unwrap()["type"],
        "unsubscribe_events"
    );
    conversation.event(1).await;
    source
        .expect(&[r#"{"n":1}"#, "disconnected: shutting down", "end"])
        .await;
    source.task.await.unwrap();
}

#[tokio::test]
async fn a_shutdown_ends_a_source_that_has_no_connection() {
    let home = Home::start().await;
    let mut options = options(&home);
    options.url.set_port(Some(1)).unwrap();
    options.backoff_first = Duration::from_secs(1000);
    options.backoff_max = Duration::from_secs(1000);
    let mut source = run(options);
    source
        .state(|state| matches!(state, ha_source::ConnectionState::Disconnected { .. }))
        .await;
    source.stop().await;
}

#[tokio::test]
async fn a_source_that_nobody_listens_to_ends() {
    let mut home = Home::start().await;
    let mut source = run(options(&home));
    let mut conversation = home.next_ready().await;
    source.expect(&["connected 2025.4.4"]).await;
    drop(source.events);
    conversation.event(1).await;
    tokio::time::timeout(crate::home::DEADLINE, source.task)
        .await
        .unwrap()
        .unwrap();
}
