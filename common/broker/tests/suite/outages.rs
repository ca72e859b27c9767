//! The broker blocks, freezes and dies: every publish is answered, and everything comes back.

use crate::suite::support::{
    SOON, broker, depth, event, own_rabbitmq, publish_within, publisher, quick, wait_for_state,
};
use futures_util::future::join_all;
use ha_broker::{
    NotDelivered, Publisher, PublisherState, Subscription, SubscriptionOptions, topology,
};
use ha_services::{Service, Services};
use reqwest::Method;
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
    subscription.close().await;

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
