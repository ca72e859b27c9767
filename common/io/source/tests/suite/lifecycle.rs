//! Connections come and go; there is always exactly one, and there is always a next one.

use crate::home::{Home, TOKEN, options, run};
use ha_source::{ConnectionState, Ended};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::test]
async fn every_end_is_followed_by_one_connection_with_one_subscription_each() {
    let mut home = Home::start().await;
    let mut source = run(options(&home));
    for number in 0..10 {
        let mut conversation = home.next_ready().await;
        conversation.event(number).await;
        source
            .expect(&["connected 2025.4.4", &format!(r#"{{"n":{number}}}"#)])
            .await;
        assert!(!home.has_another(), "two connections at once");
        assert_eq!(conversation.subscriptions.len(), 2);
        assert_eq!(
            source.counters.reconnections.load(Ordering::Relaxed),
            number as u64
        );
        if number % 2 == 0 {
            conversation.close().await;
            source
                .expect(&["disconnected: closed by Home Assistant (1005)"])
                .await;
        } else {
            drop(conversation);
            let words = source.next().await;
            assert!(
                words.starts_with("disconnected: connection lost: "),
                "{words}"
            );
        }
    }
    let conversation = home.next_ready().await;
    source.expect(&["connected 2025.4.4"]).await;
    assert_eq!(home.accepted(), 11);
    assert_eq!(source.counters.attempts.load(Ordering::Relaxed), 11);
    drop(conversation);
    source.stop().await;
}

#[tokio::test]
async fn events_before_a_close_are_not_lost() {
    let mut home = Home::start().await;
    let mut source = run(options(&home));
    let mut conversation = home.next_ready().await;
    for number in 0..1000 {
        conversation.event(number).await;
    }
    conversation.close().await;
    source.expect(&["connected 2025.4.4"]).await;
    for number in 0..1000 {
        assert_eq!(source.next().await, format!(r#"{{"n":{number}}}"#));
    }
    source
        .expect(&["disconnected: closed by Home Assistant (1005)"])
        .await;
    source.stop().await;
}

#[tokio::test]
async fn a_refused_token_is_said_and_tried_again() {
    let mut home = Home::start().await;
    let mut source = run(options(&home));
    for _ in 0..3 {
        let mut conversation = home.next().await;
        conversation.send(r#"{"type":"auth_required"}"#).await;
        assert_eq!(conversation.receive().await.unwrap()["access_token"], TOKEN);
        conversation
            .send(r#"{"type":"auth_invalid","message":"Invalid access token"}"#)
            .await;
        // Home Assistant closes right behind it.
        conversation.close().await;
        let state = source
            .state(|state| *state != ConnectionState::Connecting)
            .await;
        let message = "Invalid access token".to_owned();
        assert_eq!(state, ConnectionState::AuthInvalid { message });
    }
    let conversation = home.next_ready().await;
    source.expect(&["connected 2025.4.4"]).await;
    assert!(matches!(
        source.state.borrow().clone(),
        ConnectionState::Connected { ha_version, .. } if ha_version == "2025.4.4"
    ));
    assert_eq!(source.counters.reconnections.load(Ordering::Relaxed), 0);
    drop(conversation);
    source.stop().await;
}

#[tokio::test]
async fn a_refused_token_is_not_tried_at_the_usual_pace() {
    let mut home = Home::start().await;
    let mut options = options(&home);
    options.auth_backoff_first = Duration::from_secs(100_000);
    options.auth_backoff_max = Duration::from_secs(100_000);
    let mut source = run(options);
    let mut conversation = home.next().await;
    conversation.send(r#"{"type":"auth_required"}"#).await;
    conversation.receive().await.unwrap();
    conversation
        .send(r#"{"type":"auth_invalid","message":"no"}"#)
        .await;
    source
        .state(|state| matches!(state, ConnectionState::AuthInvalid { .. }))
        .await;
    // Far over the usual pace (20 ms at most). Full jitter makes so short a delay possible, but no more
    // than three times in a million.
    let another = tokio::time::timeout(Duration::from_millis(300), home.next()).await;
    assert!(another.is_err(), "tried again at once");
    source.stop().await;
}

#[tokio::test]
async fn a_refused_subscription_is_said_and_tried_again() {
    let mut home = Home::start().await;
    let mut source = run(options(&home));
    let mut conversation = home.next().await;
    conversation.send(r#"{"type":"auth_required"}"#).await;
    conversation.receive().await.unwrap();
    conversation
        .send(r#"{"type":"auth_ok","ha_version":"1"}"#)
        .await;
    conversation
        .send(r#"{"id":3,"type":"result","success":false,"error":{"code":"unauthorized","message":"Unauthorized"}}"#)
        .await;
    let state = source
        .state(|state| matches!(state, ConnectionState::Disconnected { .. }))
        .await;
    let ConnectionState::Disconnected { reason, .. } = state else {
        panic!("{state:?}")
    };
    assert_eq!(
        reason.to_string(),
        r#"the subscription to "call_service" was refused: Home Assistant answered unauthorized: Unauthorized"#
    );
    drop(conversation);
    let conversation = home.next_ready().await;
    source.expect(&["connected 2025.4.4"]).await;
    drop(conversation);
    source.stop().await;
}

#[tokio::test]
async fn silence_is_asked_about_and_then_ends_the_session() {
    let mut home = Home::start().await;
    let mut options = options(&home);
    options.ping_after = Duration::from_millis(50);
    // Three answers must be in time on a busy machine too.
    options.pong_timeout = Duration::from_secs(3);
    let mut source = run(options);
    let mut conversation = home.next_ready().await;
    let mut id_last = 0;
    for _ in 0..3 {
        let ping = conversation.receive().await.unwrap();
        assert_eq!(ping["type"], "ping");
        let id = ping["id"].as_u64().unwrap();
        assert!(id > id_last);
        id_last = id;
        conversation
            .send(format!(r#"{{"id":{id},"type":"pong"}}"#))
            .await;
    }
    assert_eq!(conversation.receive().await.unwrap()["type"], "ping");
    // Not answered: the connection is given up, although the socket is still open.
    source
        .expect(&["connected 2025.4.4", "disconnected: no answer to a ping"])
        .await;
    assert_eq!(conversation.receive().await, None);
    let conversation = home.next_ready().await;
    source.expect(&["connected 2025.4.4"]).await;
    drop(conversation);
    source.stop().await;
}

#[tokio::test]
async fn a_home_that_says_nothing_is_left() {
    let mut home = Home::start().await;
    let mut options = options(&home);
    // The last conversation must be in time on a busy machine too.
    options.auth_timeout = Duration::from_secs(1);
    let mut source = run(options);
    // Never `auth_required`; then no answer to the token; then no answer to the subscriptions.
    let silent = home.next().await;
    let mut unanswered = home.next().await;
    unanswered.send(r#"{"type":"auth_required"}"#).await;
    let mut unsubscribed = home.next().await;
    unsubscribed.send(r#"{"type":"auth_required"}"#).await;
    unsubscribed.send(r#"{"type":"auth_ok"}"#).await;
    let conversation = home.next_ready().await;
    source.expect(&["connected 2025.4.4"]).await;
    drop(conversation);
    drop((silent, unanswered, unsubscribed));
    source.stop().await;
}

#[tokio::test]
async fn a_server_that_is_no_websocket_is_left() {
    let home = Home::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = options(&home);
    options
        .url
        .set_port(Some(listener.local_addr().unwrap().port()))
        .unwrap();
    options.connect_timeout = Duration::from_millis(100);
    let mut source = run(options);
    // Accepts, and never answers the handshake.
    let (first, _) = listener.accept().await.unwrap();
    let (second, _) = listener.accept().await.unwrap();
    let state = source
        .state(|state| matches!(state, ConnectionState::Disconnected { .. }))
        .await;
    assert!(matches!(
        state,
        ConnectionState::Disconnected {
            reason: Ended::TimedOut("connecting"),
            ..
        }
    ));
    drop((first, second));
    source.stop().await;
}
