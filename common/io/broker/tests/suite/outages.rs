//! The broker blocks, freezes and dies: every publish is answered, and everything comes back.

use crate::support::{
    SOON, broker, depth, event, own_rabbitmq, publish_within, publisher, quick, wait_for_state,
};
use futures_util::future::join_all;
use ha_broker::{
    DeadLetterReader, NotDelivered, Publisher, PublisherState, Subscription, SubscriptionOptions,
    topology,
};
use ha_services::{Service, Services};
use reqwest::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A confirm may take 3 s here; what is answered later than this is not answered in time.
const BOUND: Duration = Duration::from_secs(8);

async fn fresh_vhost(services: &Services) -> String {
    let name = Services::unique_name("outage");
    services.create_vhost(&name).await.unwrap();
    name
}

async fn delivered_again(publisher: &Publisher) {
    let never = CancellationToken::new();
    let delivered = publisher.publish_until_delivered(event("again"), &never);
    assert_eq!(
        timeout(SOON, delivered).await.expect("delivered again"),
        Ok(())
    );
}

/// Connections of a virtual host as the broker sees them.
async fn wait_for_connections(services: &Services, vhost: &str, expected: usize) {
    let deadline = Instant::now() + SOON;
    loop {
        let path = format!("vhosts/{vhost}/connections");
        let open = services.management(Method::GET, &path, None).await.unwrap();
        let found = open.as_array().map_or(0, Vec::len);
        if found == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{found} connections, expected {expected}: {open}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_memory_alarm_blocks_publishers_within_bounds_and_passes() {
    let services = own_rabbitmq().await;
    let vhost = fresh_vhost(&services).await;
    let publisher = publisher(&broker(&services.amqp_url(&vhost))).await;
    publisher.publish(event("before")).await.unwrap();
    services
        .rabbitmqctl(&["set_vm_memory_high_watermark", "0.0001"])
        .await
        .unwrap();

    // Until the alarm is raised messages still pass; the first that does not tells the broker
    // that this connection publishes, and then it says that it is blocked.
    let deadline = Instant::now() + SOON;
    let mut seen = Vec::new();
    while !seen.contains(&NotDelivered::Blocked) {
        assert!(Instant::now() < deadline, "never blocked: {seen:?}");
        let answers = join_all((0..3).map(|n| {
            let publisher = publisher.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(100 * n)).await;
                publish_within(&publisher, BOUND).await
            }
        }));
        seen.extend(answers.await.into_iter().filter_map(Result::err));
    }

    // Acknowledgements go over connections of their own and do not stop.
    let options = SubscriptionOptions {
        queue: topology::EVENTS_QUEUE,
        prefetch_messages: 5,
        consumer_tag: "t".into(),
    };
    let of = broker(&services.amqp_url(&vhost));
    let mut subscription = Subscription::open(of, &options).await.unwrap();
    let delivery = timeout(SOON, subscription.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    subscription.acknowledge(delivery.tag, false).unwrap();
    subscription.close().await.unwrap();

    services
        .rabbitmqctl(&["set_vm_memory_high_watermark", "absolute", "1GB"])
        .await
        .unwrap();
    delivered_again(&publisher).await;
    wait_for_connections(&services, &vhost, 1).await;
}

#[tokio::test]
async fn a_killed_broker_loses_nothing_that_was_confirmed_and_is_found_again() {
    let services = own_rabbitmq().await;
    let vhost = fresh_vhost(&services).await;
    let broker = broker(&services.amqp_url(&vhost));
    let publisher = publisher(&broker).await;
    let confirmed = join_all((0..500).map(|_| publisher.publish(event("x")))).await;
    assert!(confirmed.iter().all(Result::is_ok));

    let flood = tokio::spawn({
        let publisher = publisher.clone();
        async move { join_all((0..20_000).map(|_| publisher.publish(event("flood")))).await }
    });
    let mut state = publisher.state();
    services.kill9(Service::RabbitMq).await.unwrap();
    timeout(
        SOON,
        state.wait_for(|state| matches!(state, PublisherState::Failed(_))),
    )
    .await
    .unwrap()
    .unwrap();
    let verdicts = timeout(SOON, flood).await.expect("answers to all").unwrap();
    let delivered = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
    for reason in verdicts.into_iter().filter_map(Result::err) {
        let honest = [NotDelivered::Lost, NotDelivered::Disconnected];
        assert!(honest.contains(&reason), "{reason:?}");
    }
    let gone = publish_within(&publisher, BOUND).await;
    assert_eq!(gone, Err(NotDelivered::Disconnected));
    wait_for_state(&publisher, |state| {
        format!("{state:?}").contains("cannot reach the broker at amqp://127.0.0.1")
    })
    .await;

    services.start_again(Service::RabbitMq).await.unwrap();
    delivered_again(&publisher).await;
    let left = depth(&broker, topology::EVENTS_QUEUE).await as usize;
    assert!(
        left > 500 + delivered,
        "{left} left of at least {}",
        501 + delivered
    );
}

#[tokio::test]
async fn a_frozen_broker_is_noticed_by_the_missing_confirm() {
    let services = own_rabbitmq().await;
    let vhost = fresh_vhost(&services).await;
    let publisher = publisher(&broker(&services.amqp_url(&vhost))).await;
    services.pause(Service::RabbitMq).await.unwrap();
    assert_eq!(
        publish_within(&publisher, BOUND).await,
        Err(NotDelivered::Timeout)
    );
    assert_eq!(
        publish_within(&publisher, BOUND).await,
        Err(NotDelivered::Disconnected)
    );
    services.resume(Service::RabbitMq).await.unwrap();
    delivered_again(&publisher).await;
    wait_for_connections(&services, &vhost, 1).await;
}

#[tokio::test]
async fn a_publisher_may_start_before_the_broker() {
    let services = own_rabbitmq().await;
    let vhost = fresh_vhost(&services).await;
    services.kill9(Service::RabbitMq).await.unwrap();
    let publisher = Publisher::start(broker(&services.amqp_url(&vhost)), quick());
    wait_for_state(&publisher, |state| {
        matches!(state, PublisherState::Failed(_))
    })
    .await;
    assert_eq!(
        publish_within(&publisher, BOUND).await,
        Err(NotDelivered::Disconnected)
    );
    services.start_again(Service::RabbitMq).await.unwrap();
    delivered_again(&publisher).await;
}

/// Has the broker's quorum queues apply nothing, or go on: the process that writes their log stands
/// still.
async fn set_queues_still(services: &Services, is_still: bool) {
    let what = if is_still { "suspend" } else { "resume" };
    let code = format!("sys:{what}(ra_log_wal).");
    let said = services.rabbitmqctl(&["eval", &code]).await.unwrap();
    assert_eq!(said.trim(), "ok");
}

/// Lets `closing` come to its end while the queues apply nothing; where it waits for them, they go
/// on.
async fn close_beside_still_queues<T>(services: &Services, closing: impl Future<Output = T>) -> T {
    let mut closing = std::pin::pin!(closing);
    let early = timeout(Duration::from_secs(1), &mut closing).await;
    set_queues_still(services, false).await;
    match early {
        Ok(closed) => closed,
        Err(_) => timeout(SOON, closing).await.expect("an end"),
    }
}

/// Messages that the queue hands out, which are taken. The broker comes to this after the end of
/// channels that were closed before.
async fn left(broker: &ha_broker::Broker, queue: &str) -> usize {
    let connection = broker.connect().await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = lapin::options::BasicGetOptions { no_ack: true };
    let mut left = 0;
    while let Some(_message) = channel.basic_get(queue.into(), options).await.unwrap() {
        left += 1;
    }
    left
}

/// Of the acknowledgements beyond 32 that a quorum queue has not applied, RabbitMQ forgets those of a
/// channel that closes.
#[tokio::test]
async fn what_was_acknowledged_before_a_close_is_gone_however_slow_the_queue() {
    const MESSAGES: usize = 200;
    let services = own_rabbitmq().await;
    let vhost = fresh_vhost(&services).await;
    let broker = broker(&services.amqp_url(&vhost));
    let publisher = publisher(&broker).await;
    let confirmed = join_all((0..MESSAGES).map(|_| publisher.publish(event("x")))).await;
    assert!(confirmed.iter().all(Result::is_ok));
    let options = SubscriptionOptions {
        queue: topology::EVENTS_QUEUE,
        prefetch_messages: 1_000,
        consumer_tag: "t".into(),
    };
    let mut subscription = Subscription::open(Arc::clone(&broker), &options)
        .await
        .unwrap();
    let mut tags = Vec::new();
    while tags.len() < MESSAGES {
        let next = timeout(SOON, subscription.next()).await.unwrap();
        tags.push(next.unwrap().unwrap().tag);
    }
    set_queues_still(&services, true).await;
    for tag in &tags {
        subscription.acknowledge(*tag, false).unwrap();
    }
    let closed = close_beside_still_queues(&services, subscription.close()).await;
    closed.unwrap();
    assert_eq!(left(&broker, topology::EVENTS_QUEUE).await, 0);
}

#[tokio::test]
async fn dead_letters_that_were_taken_are_gone_when_the_reader_is_closed() {
    const DEAD_LETTERS: usize = 100;
    let services = own_rabbitmq().await;
    let vhost = fresh_vhost(&services).await;
    let broker = broker(&services.amqp_url(&vhost));
    let publisher = publisher(&broker).await;
    let dead_letter = ha_broker::Outgoing {
        exchange: topology::DEAD_LETTERS_EXCHANGE,
        ..event("x")
    };
    let confirmed =
        join_all((0..DEAD_LETTERS).map(|_| publisher.publish(dead_letter.clone()))).await;
    assert!(confirmed.iter().all(Result::is_ok));
    let mut reader = DeadLetterReader::open(Arc::clone(&broker)).await.unwrap();
    let mut tags = Vec::new();
    while let Some(dead_letter) = reader.next().await.unwrap() {
        tags.push(dead_letter.tag);
    }
    assert_eq!(tags.len(), DEAD_LETTERS);
    set_queues_still(&services, true).await;
    for tag in tags {
        reader.take(tag).await.unwrap();
    }
    let closed = close_beside_still_queues(&services, reader.close()).await;
    closed.unwrap();
    assert_eq!(left(&broker, topology::DEAD_LETTERS_QUEUE).await, 0);
}
