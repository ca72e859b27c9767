//! Addresses, users and permissions that do not work: what the user is told.

use crate::support::{SOON, Vhost, broker, event, publisher, quick, wait_for_state};
use ha_broker::{BrokerError, Publisher, PublisherState};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const PASSWORD: &str = "s3cret-pa55word";

async fn refused(url: &str) -> BrokerError {
    let error = broker(url).connect().await.err().unwrap();
    assert!(
        !format!("{error} {error:?}").contains(PASSWORD),
        "{error:?}"
    );
    error
}

#[tokio::test]
async fn a_wrong_password_is_a_login_error_without_the_password() {
    let vhost = Vhost::new().await;
    let url = vhost
        .url()
        .replace("guest:guest@", &format!("guest:{PASSWORD}@"));
    let error = refused(&url).await;
    assert!(matches!(error, BrokerError::Login { .. }), "{error}");
    assert!(error.to_string().contains("AMQP_URL"), "{error}");
    assert!(error.to_string().contains("password"), "{error}");

    let publisher = Publisher::start(broker(&url), quick());
    wait_for_state(&publisher, |state| {
        *state == PublisherState::Failed(error.to_string())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_virtual_host_is_a_login_error() {
    let vhost = Vhost::new().await;
    let error = refused(&vhost.services.amqp_url("no-such-vhost")).await;
    assert!(matches!(error, BrokerError::Login { .. }), "{error}");
    assert!(error.to_string().contains("no-such-vhost"), "{error}");
}

#[tokio::test]
async fn nothing_listening_is_said_with_the_address_and_without_the_password() {
    // A port that was free a moment ago, below the range that clients get theirs from.
    let port = (20_000..25_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap();
    let error = refused(&format!("amqp://u:{PASSWORD}@127.0.0.1:{port}/%2f")).await;
    assert!(matches!(error, BrokerError::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{port}")),
        "{error}"
    );
}

#[tokio::test]
async fn a_user_that_may_not_write_is_told_so() {
    let vhost = Vhost::new().await;
    drop(publisher(&vhost.broker()).await);
    let url = vhost.user(PASSWORD, "", "", ".*").await;
    let publisher = Publisher::start(broker(&url), quick());
    wait_for_state(&publisher, |state| *state == PublisherState::Connected).await;
    // It connects again and again: what it says between two attempts must name the cause.
    let mut state = publisher.state();
    let deadline = Instant::now() + SOON / 6;
    let mut said = Vec::new();
    loop {
        assert!(publisher.publish(event("x")).await.is_err());
        if let PublisherState::Failed(reason) = &*state.borrow_and_update() {
            assert!(!reason.contains(PASSWORD), "{reason}");
            if reason.contains("ha.events") && reason.contains("ACCESS_REFUSED") {
                return;
            }
            said.push(reason.clone());
        }
        assert!(Instant::now() < deadline, "{said:?}");
        let _ = timeout(Duration::from_millis(100), state.changed()).await;
    }
}
