//! Consuming: the prefetch bounds what is held, and what is not acknowledged comes again.

use crate::support::{SOON, Vhost, event, publisher, quick, wait_for_state};
use ha_broker::{Delivery, Publisher, PublisherOptions, PublisherState};
use ha_broker::{Subscription, SubscriptionOptions, topology};
use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use tokio::time::timeout;

const QUEUE: &str = topology::EVENTS_QUEUE;

async fn filled(count: usize) -> Vhost {
    let vhost = Vhost::new().await;
    let publisher = publisher(&vhost.broker()).await;
    for n in 0..count {
        publisher.publish(event(&n.to_string())).await.unwrap();
    }
    vhost.wait_for_depth(QUEUE, count as u32).await;
    vhost
}

async fn subscribe(vhost: &Vhost, prefetch_messages: u16) -> Subscription {
    let options = SubscriptionOptions {
        queue: QUEUE,
        prefetch_messages,
        consumer_tag: "suite".into(),
    };
    Subscription::open(vhost.broker(), &options).await.unwrap()
}

async fn take(subscription: &mut Subscription, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = timeout(SOON, subscription.next()).await;
        taken.push(next.expect("a delivery").expect("not cancelled").unwrap());
    }
    taken
}

fn bodies(deliveries: &[Delivery]) -> Vec<usize> {
    let number = |delivery: &Delivery| String::from_utf8_lossy(&delivery.payload).parse().unwrap();
    deliveries.iter().map(number).collect()
}

#[tokio::test]
async fn no_more_than_the_prefetch_is_held_and_multiple_acknowledges_the_rest() {
    let vhost = filled(50).await;
    let mut subscription = subscribe(&vhost, 10).await;
    let first = take(&mut subscription, 10).await;
    assert_eq!(bodies(&first), (0..10).collect::<Vec<_>>());
    assert!(first.iter().all(|delivery| delivery.delivery_count == 0));
    vhost.wait_for_depth(QUEUE, 40).await;
    assert_eq!(subscription.depth(QUEUE).await.unwrap(), 40);

    subscription.acknowledge(first[9].tag, true).unwrap();
    let second = take(&mut subscription, 10).await;
    assert_eq!(bodies(&second), (10..20).collect::<Vec<_>>());
    vhost.wait_for_depth(QUEUE, 30).await;

    // One by one opens the window by one.
    subscription.acknowledge(second[0].tag, false).unwrap();
    assert_eq!(bodies(&take(&mut subscription, 1).await), [20]);
    vhost.wait_for_depth(QUEUE, 29).await;
    assert!(subscription.is_open());

    subscription.close().await.unwrap();
    // 50, less the eleven that were acknowledged.
    vhost.wait_for_depth(QUEUE, 39).await;
}

#[tokio::test]
async fn after_cancel_everything_that_had_arrived_is_handed_out_and_can_be_acknowledged() {
    let vhost = filled(30).await;
    let mut subscription = subscribe(&vhost, 20).await;
    vhost.wait_for_depth(QUEUE, 10).await;
    subscription.cancel().await.unwrap();
    let mut arrived = Vec::new();
    while let Some(delivery) = timeout(SOON, subscription.next()).await.expect("an end") {
        arrived.push(delivery.unwrap());
    }
    assert_eq!(bodies(&arrived), (0..20).collect::<Vec<_>>());
    subscription.acknowledge(arrived[19].tag, true).unwrap();
    subscription.close().await.unwrap();
    vhost.wait_for_depth(QUEUE, 10).await;
}

#[tokio::test]
async fn closing_gives_back_what_is_not_acknowledged_and_the_broker_counts_it() {
    let vhost = filled(5).await;
    let mut subscription = subscribe(&vhost, 20).await;
    let held = take(&mut subscription, 5).await;
    subscription.acknowledge(held[1].tag, true).unwrap();
    subscription.close().await.unwrap();
    vhost.wait_for_depth(QUEUE, 3).await;
    let mut again = subscribe(&vhost, 20).await;
    let again = take(&mut again, 3).await;
    assert_eq!(bodies(&again), [2, 3, 4]);
    assert!(again.iter().all(|delivery| delivery.delivery_count == 1));
}

#[tokio::test]
async fn dropping_gives_everything_back_too() {
    let vhost = filled(5).await;
    let mut subscription = subscribe(&vhost, 20).await;
    take(&mut subscription, 5).await;
    vhost.wait_for_depth(QUEUE, 0).await;
    drop(subscription);
    vhost.wait_for_depth(QUEUE, 5).await;
}

#[tokio::test]
async fn a_deleted_queue_ends_the_subscription() {
    let vhost = filled(0).await;
    let mut subscription = subscribe(&vhost, 20).await;
    let (_connection, channel) = vhost.raw().await;
    channel
        .queue_delete(QUEUE.into(), lapin::options::QueueDeleteOptions::default())
        .await
        .unwrap();
    let end = timeout(SOON, subscription.next()).await.expect("an end");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
}

#[tokio::test]
async fn a_compressed_body_says_so_on_the_wire_and_is_taken_as_it_came() {
    let vhost = Vhost::new().await;
    let options = PublisherOptions {
        compress_bytes_min: Some(10_000),
        ..quick()
    };
    let publisher = Publisher::start(vhost.broker(), options);
    wait_for_state(&publisher, |state| *state == PublisherState::Connected).await;
    let body = "the same again, ".repeat(1_000);
    publisher.publish(event(&body)).await.unwrap();
    publisher.publish(event("small")).await.unwrap();
    vhost.wait_for_depth(QUEUE, 2).await;

    let connection = vhost.broker().connect().await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let get = channel.basic_get(QUEUE.into(), BasicGetOptions::default());
    let got = get.await.unwrap().expect("a message").delivery;
    let encoding = got.properties.content_encoding().clone();
    assert_eq!(encoding.expect("an encoding").as_str(), "zstd");
    assert!(got.data.len() * 10 < body.len(), "{} bytes", got.data.len());
    let get = channel.basic_get(QUEUE.into(), BasicGetOptions::default());
    let got = get.await.unwrap().expect("another message").delivery;
    assert_eq!(*got.properties.content_encoding(), None);
    assert_eq!(got.data, b"small");

    // One that lies about itself comes as it is.
    let lie = BasicProperties::default().with_content_encoding("zstd".into());
    let options = BasicPublishOptions::default();
    let publish = channel.basic_publish("".into(), QUEUE.into(), options, b"not zstd", lie);
    publish.await.unwrap();
    connection.close(200, "bye".into()).await.unwrap();

    let mut subscription = subscribe(&vhost, 10).await;
    let taken = take(&mut subscription, 3).await;
    let mut bodies: Vec<_> = taken.into_iter().map(|delivery| delivery.payload).collect();
    bodies.sort_by_key(Vec::len);
    assert_eq!(bodies[..2], [&b"small"[..], b"not zstd"]);
    assert!(bodies[2].len() * 10 < body.len(), "it came compressed");
    assert_eq!(ha_batch::decompressed(bodies.remove(2)), body.as_bytes());
}
