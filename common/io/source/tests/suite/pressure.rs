//! A caller that lags: the reader reads on, the queue is bounded, and nobody waits.

use crate::home::{Home, options, reached, run};
use ha_source::{Source, SourceEvent};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// 1,000 bytes and more of event.
fn large_event(id: u64, number: usize) -> String {
    let fill = "x".repeat(1000);
    format!(r#"{{"id":{id},"type":"event","event":{{"n":{number},"fill":"{fill}"}}}}"#)
}

#[tokio::test]
async fn a_caller_that_takes_nothing_does_not_stop_the_reader() {
    let mut home = Home::start().await;
    let mut source = run(options(&home));
    let mut conversation = home.next_ready().await;
    let before = source.counters.messages_received.load(Ordering::Relaxed);
    for number in 0..5000 {
        conversation.event(number).await;
    }
    reached(&source.counters.messages_received, before + 5000).await;
    // The driver goes on too: requests are answered in the meantime.
    let requester = source.requester.clone();
    let answer = tokio::spawn(async move { requester.request("get_config", ().into()).await });
    let command = conversation.receive().await.unwrap();
    assert_eq!(command["type"], "get_config");
    conversation
        .send(format!(
            r#"{{"id":{},"type":"result","success":true,"result":{{}}}}"#,
            command["id"]
        ))
        .await;
    assert_eq!(answer.await.unwrap().unwrap(), "{}");
    source.expect(&["connected 2025.4.4"]).await;
    for number in 0..5000 {
        assert_eq!(source.next().await, format!(r#"{{"n":{number}}}"#));
    }
    drop(conversation);
    source.stop().await;
}

#[tokio::test]
async fn a_full_queue_closes_and_reconnects_when_there_is_room() {
    let mut home = Home::start().await;
    let mut options = options(&home);
    options.queue_bytes_max = 256 * 1024;
    let (source, mut events) = Source::new(options).unwrap();
    let (counters, used) = (source.counters(), source.queue_used_bytes());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(source.run(shutdown.clone()));
    let mut conversation = home.next_ready().await;
    let id = conversation.subscriptions[0].0;
    let mut sent = 0;
    while conversation.try_send(large_event(id, sent)).await {
        sent += 1;
        assert!(sent < 1_000_000, "never closed");
        assert!(used() <= 256 * 1024);
    }
    reached(&counters.queue_full_closes, 1).await;
    drop(conversation);
    // What fitted is a prefix without holes, held while nobody takes it: no new connection yet.
    let mut held = Vec::new();
    let reason = loop {
        match tokio::time::timeout(crate::home::DEADLINE, events.recv())
            .await
            .unwrap()
            .unwrap()
        {
            SourceEvent::Connected { .. } => {}
            SourceEvent::Event(event) => held.push(event),
            SourceEvent::Disconnected { reason, .. } => break reason.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason, "receive queue full: closed by us");
    assert!(held.len() > 150 && held.len() < 256, "{}", held.len());
    for (number, event) in held.iter().enumerate() {
        assert!(
            event
                .json
                .starts_with(format!(r#"{{"n":{number},"#).as_bytes())
        );
    }
    // Ten times the longest delay.
    let another = tokio::time::timeout(Duration::from_millis(200), home.next()).await;
    assert!(another.is_err(), "a new connection while there is no room");
    assert!(used() > 200 * 1024);
    drop(held);
    assert_eq!(used(), 0);
    let mut conversation = home.next_ready().await;
    conversation.event(7).await;
    for expected in ["connected", "event"] {
        let event = tokio::time::timeout(crate::home::DEADLINE, events.recv())
            .await
            .unwrap();
        match (expected, event.unwrap()) {
            ("connected", SourceEvent::Connected { .. }) => {}
            ("event", SourceEvent::Event(event)) => assert_eq!(event.json, r#"{"n":7}"#),
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!(counters.queue_full_closes.load(Ordering::Relaxed), 1);
    drop(conversation);
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_message_larger_than_the_queue_gets_through() {
    let mut home = Home::start().await;
    let mut options = options(&home);
    options.queue_bytes_max = 1024 * 1024;
    let mut source = run(options);
    let mut conversation = home.next_ready().await;
    conversation.event(1).await;
    source.expect(&["connected 2025.4.4", r#"{"n":1}"#]).await;
    let requester = source.requester.clone();
    let answer = tokio::spawn(async move { requester.request("get_states", ().into()).await });
    let command = conversation.receive().await.unwrap();
    // Over the library's own limits for a frame (16 MiB) and the queue's.
    let states = format!(r#"["{}"]"#, "x".repeat(20 * 1024 * 1024));
    conversation
        .send(format!(
            r#"{{"id":{},"type":"result","success":true,"result":{states}}}"#,
            command["id"]
        ))
        .await;
    conversation.event(2).await;
    assert!(answer.await.unwrap().unwrap() == states);
    source.expect(&[r#"{"n":2}"#]).await;
    drop(conversation);
    source.stop().await;
}
