//! Exchanges and queues that are missing, wrong or forbidden.

use crate::support::{Vhost, event, publisher, quick, wait_for_state};
use ha_broker::{
    BrokerError, Publisher, PublisherState, Subscription, SubscriptionOptions, topology,
};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use reqwest::Method;

fn subscription() -> SubscriptionOptions {
    SubscriptionOptions {
        queue: topology::EVENTS_QUEUE,
        prefetch_messages: 10,
        consumer_tag: "t".into(),
    }
}

#[tokio::test]
async fn the_stable_arguments_are_declared_and_declaring_twice_is_no_change() {
    let vhost = Vhost::new().await;
    drop(publisher(&vhost.broker()).await);
    drop(publisher(&vhost.broker()).await);
    let queue = async |name: &str| {
        vhost
            .management(Method::GET, &format!("queues/{}/{name}", vhost.name), None)
            .await
    };
    let events = queue("ha.events").await;
    assert_eq!(events["durable"], true);
    let arguments = serde_json::json!({
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "ha.dead-letters",
        "x-dead-letter-strategy": "at-least-once",
    });
    assert_eq!(events["arguments"], arguments);
    // On RabbitMQ 3.x a delivery limit of -1 would drop dead letters.
    let quorum = serde_json::json!({"x-queue-type": "quorum"});
    assert_eq!(queue("ha.dead-letters").await["arguments"], quorum);
    assert_eq!(
        queue("ha.suspects").await["arguments"]["x-delivery-limit"],
        3
    );
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_named_with_its_remedy_and_waited_for() {
    let vhost = Vhost::new().await;
    let (_connection, channel) = vhost.raw().await;
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let classic = channel.queue_declare("ha.events".into(), options, FieldTable::default());
    classic.await.unwrap();

    let error = Subscription::open(vhost.broker(), &subscription())
        .await
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(matches!(error, BrokerError::Topology(_)), "{text}");
    for part in [
        "queue ha.events",
        "other arguments",
        "delete it",
        "AMQP_URL",
        "virtual host",
    ] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }

    let publisher = Publisher::start(vhost.broker(), quick());
    wait_for_state(&publisher, |state| {
        *state == PublisherState::Failed(text.clone())
    })
    .await;
    // The remedy works without a restart.
    let delete = channel.queue_delete("ha.events".into(), QueueDeleteOptions::default());
    delete.await.unwrap();
    wait_for_state(&publisher, |state| *state == PublisherState::Connected).await;
    assert_eq!(publisher.publish(event("x")).await, Ok(()));
}

#[tokio::test]
async fn without_configure_permission_missing_queues_are_named_with_their_remedy() {
    let vhost = Vhost::new().await;
    let url = vhost.user("pw", "", ".*", ".*").await;
    let broker = crate::support::broker(&url);
    let error = Subscription::open(broker, &subscription())
        .await
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(matches!(error, BrokerError::Topology(_)), "{text}");
    for part in [
        "exchange ha.dead-letters",
        "is not there",
        "AMQP_URL",
        "configure",
        "deploy/",
    ] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[tokio::test]
async fn without_configure_permission_queues_that_are_there_will_do() {
    let vhost = Vhost::new().await;
    drop(publisher(&vhost.broker()).await);
    let url = vhost.user("pw", "", ".*", ".*").await;
    let broker = crate::support::broker(&url);
    let publisher = publisher(&broker).await;
    assert_eq!(publisher.publish(event("x")).await, Ok(()));
    let mut subscription = Subscription::open(broker, &subscription()).await.unwrap();
    let delivery = subscription.next().await.unwrap().unwrap();
    assert_eq!(delivery.payload, b"x");
    subscription.acknowledge(delivery.tag, false).unwrap();
    subscription.close().await.unwrap();
    vhost.wait_for_depth(topology::EVENTS_QUEUE, 0).await;
}
