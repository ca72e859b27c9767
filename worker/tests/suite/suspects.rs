//! Many batches that keep coming back, at once: each is split, and memory does not grow with them.

use crate::batches::{encoded, publish, state_changed};
use crate::{variables, worker};
use futures_util::StreamExt;
use ha_batch::{Batch, EntityFacts, Envelope, Origin};
use ha_kit::{Place, Process, eventually};
use ha_services::Services;
use lapin::Channel;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use reqwest::Method;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

const BATCHES: u64 = 20;
const EVENTS: u64 = 250;

/// Deliveries that make a batch suspect.
const DELIVERIES: usize = 3;

/// The worker's memory at its peak, at most. Every event with the facts of all entities of
/// its batch is 1 GiB.
const PEAK_KB_MAX: u64 = 192 * 1_024;

/// What the registries say of an entity: a kilobyte, as where entities have many labels.
fn facts(entity_id: String) -> EntityFacts<'static> {
    EntityFacts {
        area: Some(format!("Area of {entity_id}").into()),
        device: Some(format!("Device of {entity_id}").into()),
        labels: (0..20)
            .map(|n| format!("Label {n} of {entity_id}, and what else is said there").into())
            .collect(),
        entity_id: entity_id.into(),
        ..EntityFacts::default()
    }
}

/// A batch of events of as many entities, with what the registries say of each.
fn batch(number: u64) -> Vec<u8> {
    let entity = |n: u64| format!("sensor.s{n:03}");
    let events: Vec<_> = (0..EVENTS)
        .map(|n| {
            let number = number * EVENTS + n;
            state_changed(&entity(n), &number.to_string(), number)
        })
        .collect();
    let envelopes = events.iter().map(|json| Envelope {
        id: uuid::Uuid::from_u128(1),
        instance: "home".into(),
        run_id: Some(1),
        sequence: Some(1),
        received_at_ns: 1,
        origin: Origin::Live,
        json: json.as_bytes().into(),
    });
    let mut batch = Batch::new(envelopes.collect());
    batch.entities = (0..EVENTS).map(|n| facts(entity(n))).collect();
    encoded(&batch)
}

/// Publishes these batches and has them delivered in vain, so often that they are suspect.
async fn publish_suspects(place: &Place, channel: &Channel, batches: u64) {
    for number in 0..batches {
        publish(channel, &[batch(number)]).await;
    }
    for round in 0..DELIVERIES {
        deliver_in_vain(channel, batches, round).await;
        eventually("the batches back", async || {
            (place.depth("ha.events").await as u64 == batches).then_some(())
        })
        .await;
    }
}

/// Takes all batches off the queue and gives them back.
async fn deliver_in_vain(channel: &Channel, batches: u64, round: usize) {
    let qos = channel.basic_qos(batches as u16, BasicQosOptions::default());
    qos.await.unwrap();
    let tag = format!("in-vain-{round}");
    let consume = channel.basic_consume(
        "ha.events".into(),
        tag.as_str().into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut consumer = consume.await.unwrap();
    let mut last = 0;
    for _ in 0..batches {
        last = consumer.next().await.unwrap().unwrap().delivery_tag;
    }
    let cancel = channel.basic_cancel(tag.as_str().into(), BasicCancelOptions::default());
    cancel.await.unwrap();
    let give_back = BasicNackOptions {
        multiple: true,
        requeue: true,
    };
    channel.basic_nack(last, give_back).await.unwrap();
}

/// `VmHWM`: the most that the process ever had in memory.
fn peak_kb(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

#[tokio::test]
async fn batches_that_all_come_back_at_once_are_stored_in_little_memory() {
    let place = Place::new().await;
    let mut variables = variables(&place);
    variables.extend([
        ("BATCH_AGE_MS_MAX", "0".to_owned()),
        ("EXTRA_TAGS", "area,device".to_owned()),
    ]);
    // The worker declares the queues.
    let first = worker(&variables);
    first.wait_until_ready().await;
    first.stop().await;
    let (_connection, channel) = place.channel().await;
    publish_suspects(&place, &channel, BATCHES).await;

    let process = worker(&variables);
    let mut stored = 0;
    while stored < BATCHES * EVENTS {
        stored = eventually("more points", async || {
            let now = place.count().await as u64;
            (now > stored).then_some(now)
        })
        .await;
    }
    let peak_kb = peak_kb(&process);
    println!("{stored} points, {peak_kb} kB at the peak");
    process.stop().await;
    assert!(peak_kb < PEAK_KB_MAX, "{peak_kb} kB in memory at the peak");
    let points = place.points().await;
    let states: BTreeSet<_> = points.iter().map(|point| point.text("state")).collect();
    let expected = (BATCHES * EVENTS) as usize;
    assert_eq!((points.len(), states.len()), (expected, expected));
    for point in points {
        let entity_id = point.text("entity_id");
        assert_eq!(point.text("area"), format!("Area of {entity_id}"));
        assert_eq!(point.text("device"), format!("Device of {entity_id}"));
    }
    for queue in ["ha.events", "ha.suspects", "ha.dead-letters"] {
        assert_eq!(place.depth(queue).await, 0, "{queue}");
    }
}

#[tokio::test]
async fn a_batch_that_cannot_be_split_holds_up_no_shutdown_and_is_split_later() {
    let place = Place::new().await;
    let mut variables = variables(&place);
    variables.extend([
        ("BATCH_AGE_MS_MAX", "0".to_owned()),
        ("SHUTDOWN_GRACE_S", "2".to_owned()),
    ]);
    let first = worker(&variables);
    first.wait_until_ready().await;
    first.stop().await;
    let (_connection, channel) = place.channel().await;
    publish_suspects(&place, &channel, 1).await;
    // A user who may not write to the default exchange, over which single events go.
    let user = Services::unique_name("reader");
    let of_user = serde_json::json!({"password": "p", "tags": ""});
    let patterns = serde_json::json!({"configure": ".*", "write": r"^ha\..*", "read": ".*"});
    let may = format!("permissions/{}/{user}", place.vhost);
    for (path, body) in [(format!("users/{user}"), of_user), (may, patterns)] {
        let said = place.services.management(Method::PUT, &path, Some(body));
        said.await.unwrap();
    }
    let mut of_reader = variables.clone();
    let url = place
        .amqp_url()
        .replace("guest:guest@", &format!("{user}:p@"));
    of_reader.retain(|(name, _)| *name != "AMQP_URL");
    of_reader.push(("AMQP_URL", url));

    let second = worker(&of_reader);
    eventually("a split", async || {
        let begun = second.output().contains("its events go on one by one");
        begun.then_some(())
    })
    .await;
    let asked = Instant::now();
    let output = second.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(20), "{output}");
    assert!(output.contains("the grace is over"), "{output}");
    eventually("the batch back", async || {
        (place.depth("ha.events").await == 1).then_some(())
    })
    .await;

    let third = worker(&variables);
    eventually("all points", async || {
        (place.count().await as u64 == EVENTS).then_some(())
    })
    .await;
    third.stop().await;
    for queue in ["ha.events", "ha.suspects", "ha.dead-letters"] {
        assert_eq!(place.depth(queue).await, 0, "{queue}");
    }
}
