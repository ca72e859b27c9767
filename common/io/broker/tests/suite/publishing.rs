//! Every message is said to be delivered exactly when the broker has it.

use crate::support::{SOON, Vhost, broker, event, publisher, quick, wait_for_state};
use futures_util::future::join_all;
use ha_broker::{NotDelivered, Outgoing, Publisher, PublisherOptions, PublisherState, topology};
use lapin::options::{
    BasicGetOptions, ExchangeDeleteOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use reqwest::Method;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

#[tokio::test]
async fn a_confirmed_message_lies_in_the_queue_as_it_was_sent() {
    let vhost = Vhost::new().await;
    let publisher = publisher(&vhost.broker()).await;
    assert_eq!(publisher.publish(event("body")).await, Ok(()));

    let (_connection, channel) = vhost.raw().await;
    let queue = topology::EVENTS_QUEUE.into();
    let message = channel
        .basic_get(queue, BasicGetOptions::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.data, b"body");
    let properties = &message.properties;
    assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "text/plain"
    );
    assert!(properties.message_id().is_some());
    let headers: &FieldTable = properties.headers().as_ref().unwrap();
    assert_eq!(
        headers.inner()["x-text"],
        AMQPValue::LongString("wört".into())
    );
    assert_eq!(headers.inner()["x-number"], AMQPValue::LongLongInt(7));
    assert_eq!(message.routing_key.as_str(), "home");
}

/// An address in front of the broker's, and its gate: while that is shut (`false`), nothing that the
/// broker says comes through. It serves for as long as the runtime.
async fn gated(url: &str) -> (String, watch::Sender<bool>) {
    let mut url: Url = url.parse().unwrap();
    let target = (url.host_str().unwrap().to_owned(), url.port().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port()))
        .unwrap();
    let (gate, opened) = watch::channel(true);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let broker = TcpStream::connect(target.clone()).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_broker, mut to_broker) = broker.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_broker).await });
            let mut opened = opened.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 65_536];
                while let Ok(read @ 1..) = from_broker.read(&mut bytes).await {
                    if opened.wait_for(|is_open| *is_open).await.is_err()
                        || to_client.write_all(&bytes[..read]).await.is_err()
                    {
                        break;
                    }
                }
            });
        }
    });
    (url.to_string(), gate)
}

#[tokio::test]
async fn five_thousand_messages_are_pipelined() {
    const MESSAGES: usize = 5_000;
    let vhost = Vhost::new().await;
    let (url, gate) = gated(&vhost.url()).await;
    let options = PublisherOptions {
        window_messages: MESSAGES,
        confirm_timeout: SOON * 2,
        ..quick()
    };
    let publisher = Publisher::start(broker(&url), options);
    wait_for_state(&publisher, |state| *state == PublisherState::Connected).await;
    gate.send_replace(false);
    let confirmed = AtomicUsize::new(0);
    let publishing = join_all((0..MESSAGES).map(async |n| {
        let verdict = publisher.publish(event(&n.to_string())).await;
        confirmed.fetch_add(1, Ordering::Relaxed);
        verdict
    }));
    let watching = async {
        // The broker has all of them, and not one confirm has come.
        vhost
            .wait_for_depth(topology::EVENTS_QUEUE, MESSAGES as u32)
            .await;
        assert_eq!(confirmed.load(Ordering::Relaxed), 0);
        gate.send_replace(true);
    };
    let (verdicts, ()) = tokio::join!(publishing, watching);
    assert!(
        verdicts.iter().all(Result::is_ok),
        "{:?}",
        verdicts.iter().find(|v| v.is_err())
    );
}

#[tokio::test]
async fn a_returned_message_is_known_and_its_neighbours_are_not_blamed() {
    let vhost = Vhost::new().await;
    let publisher = publisher(&vhost.broker()).await;
    let path = format!("bindings/{}/e/ha.events/q/ha.events/%23", vhost.name);
    vhost.management(Method::DELETE, &path, None).await;

    // Every third message goes where a queue is bound. Which confirm a returned message comes with
    // is a matter of chance, hence the rounds.
    let is_bound = |n: usize| n.is_multiple_of(3);
    for round in 1..=4 {
        let verdicts = join_all((0..1_500).map(|n| {
            let bound = Outgoing {
                exchange: topology::DEAD_LETTERS_EXCHANGE,
                routing_key: String::new(),
                ..event(&n.to_string())
            };
            publisher.publish(if is_bound(n) {
                bound
            } else {
                event(&n.to_string())
            })
        }))
        .await;
        for (n, verdict) in verdicts.iter().enumerate() {
            let expected = if is_bound(n) {
                Ok(())
            } else {
                Err(NotDelivered::Returned)
            };
            assert_eq!(*verdict, expected, "message {n} of round {round}");
        }
    }
    vhost
        .wait_for_depth(topology::DEAD_LETTERS_QUEUE, 2_000)
        .await;
    assert_eq!(*publisher.state().borrow(), PublisherState::Connected);
}

#[tokio::test]
async fn a_queue_deleted_by_hand_returns_messages_until_it_is_there_again() {
    let vhost = Vhost::new().await;
    let first = publisher(&vhost.broker()).await;
    let (_connection, channel) = vhost.raw().await;
    let queue = topology::EVENTS_QUEUE.into();
    channel
        .queue_delete(queue, QueueDeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(first.publish(event("1")).await, Err(NotDelivered::Returned));

    // Whoever starts next declares it.
    let second = publisher(&vhost.broker()).await;
    assert_eq!(second.publish(event("2")).await, Ok(()));
    assert_eq!(first.publish(event("3")).await, Ok(()));
    vhost.wait_for_depth(topology::EVENTS_QUEUE, 2).await;
}

#[tokio::test]
async fn an_exchange_deleted_by_hand_is_declared_again() {
    let vhost = Vhost::new().await;
    let publisher = publisher(&vhost.broker()).await;
    let (_connection, channel) = vhost.raw().await;
    let exchange = topology::EVENTS_EXCHANGE.into();
    channel
        .exchange_delete(exchange, ExchangeDeleteOptions::default())
        .await
        .unwrap();
    // 404 closes the channel: this message is lost, and then everything is put up again.
    assert_eq!(publisher.publish(event("1")).await, Err(NotDelivered::Lost));
    let never = CancellationToken::new();
    let delivered = publisher.publish_until_delivered(event("2"), &never);
    assert_eq!(timeout(SOON, delivered).await.unwrap(), Ok(()));
    vhost.wait_for_depth(topology::EVENTS_QUEUE, 1).await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_takes_again_when_there_is_room() {
    let vhost = Vhost::new().await;
    let publisher = publisher(&vhost.broker()).await;
    let policy = format!("policies/{}/limit", vhost.name);
    let definition = serde_json::json!({
        "pattern": r"^ha\.events$", "definition": {"max-length": 5}, "apply-to": "queues",
    });
    vhost
        .management(Method::PUT, &policy, Some(definition))
        .await;
    let deadline = Instant::now() + SOON;
    let mut taken = 0;
    let refused = loop {
        match publisher.publish(event("x")).await {
            Ok(()) => taken += 1,
            Err(reason) => break reason,
        }
        assert!(Instant::now() < deadline, "{taken} taken, none refused");
    };
    assert_eq!(refused, NotDelivered::Nack);
    assert_eq!(*publisher.state().borrow(), PublisherState::Connected);
    vhost.wait_for_depth(topology::EVENTS_QUEUE, taken).await;

    // RabbitMQ tells a channel that it may publish again when messages have left the queue.
    let (_connection, channel) = vhost.raw().await;
    let queue = topology::EVENTS_QUEUE.into();
    channel
        .queue_purge(queue, QueuePurgeOptions::default())
        .await
        .unwrap();
    let never = CancellationToken::new();
    let delivered = publisher.publish_until_delivered(event("y"), &never);
    assert_eq!(timeout(SOON, delivered).await.unwrap(), Ok(()));
    vhost.wait_for_depth(topology::EVENTS_QUEUE, 1).await;
}

#[tokio::test]
async fn waiting_for_delivery_ends_when_it_is_told_to() {
    let vhost = Vhost::new().await;
    let publisher = publisher(&vhost.broker()).await;
    let nowhere = Outgoing {
        exchange: "",
        routing_key: "nobody".into(),
        ..event("x")
    };
    let stop = CancellationToken::new();
    stop.cancel();
    let ended = timeout(SOON, publisher.publish_until_delivered(nowhere, &stop))
        .await
        .unwrap();
    assert_eq!(ended, Err(NotDelivered::Returned));
}

#[tokio::test]
async fn a_routing_key_that_amqp_cannot_carry_is_refused_and_hurts_nobody() {
    let vhost = Vhost::new().await;
    let publisher = publisher(&vhost.broker()).await;
    let long = Outgoing {
        routing_key: "k".repeat(256),
        ..event("x")
    };
    assert!(publisher.publish(long).await.is_err());
    let never = CancellationToken::new();
    let delivered = publisher.publish_until_delivered(event("y"), &never);
    assert_eq!(timeout(SOON, delivered).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn the_connection_is_closed_when_the_last_handle_is_gone() {
    let vhost = Vhost::new().await;
    let broker = vhost.broker();
    let publisher = publisher(&broker).await;
    publisher.publish(event("x")).await.unwrap();
    drop(publisher);
    let deadline = Instant::now() + SOON;
    loop {
        let path = format!("vhosts/{}/connections", vhost.name);
        let open = vhost.management(Method::GET, &path, None).await;
        if open.as_array().is_some_and(Vec::is_empty) {
            return;
        }
        assert!(Instant::now() < deadline, "still open: {open}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
