//! Events that end the worker, and ends of workers that are nobody's fault.

use crate::batches::{batch, many, publish, state_changed};
use crate::slow_database::SlowDatabase;
use crate::{variables, worker};
use ha_kit::{Place, Process, eventually};
use lapin::options::BasicGetOptions;
use lapin::types::AMQPValue;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

const POISON: &str = "sensor.poison";
const SIGABRT: i32 = 6;

/// One batch with the event among 99 others, in the middle of healthy ones.
fn bodies(healthy_batches: u64) -> Vec<Vec<u8>> {
    let mut events: Vec<_> = (0..100)
        .map(|n| state_changed("sensor.neighbour", &n.to_string(), 900_000 + n))
        .collect();
    events[50] = state_changed(POISON, "1", 900_050);
    let mut bodies = many(healthy_batches);
    bodies.insert(bodies.len() / 2, batch(&events));
    bodies
}

#[tokio::test]
async fn the_event_that_ends_workers_becomes_a_dead_letter_and_everything_around_it_is_stored() {
    const HEALTHY: u64 = 4;
    let place = Place::new().await;
    let mut variables = variables(&place);
    variables.extend([
        ("HA_INGESTOR_TEST_POISON", POISON.to_owned()),
        ("BATCH_AGE_MS_MAX", "0".to_owned()),
    ]);
    // The worker declares the queues.
    let first = worker(&variables);
    first.wait_until_ready().await;
    let (_connection, channel) = place.channel().await;
    publish(&channel, &bodies(HEALTHY)).await;

    let expected = usize::try_from(HEALTHY * 100 + 99).unwrap();
    let mut process = first;
    let mut deaths = 0;
    loop {
        let done = async {
            eventually(
                "all but one stored, and that one a dead letter",
                async || {
                    let is_done = place.count().await == expected
                    && place.depth("ha.dead-letters").await == 1
                    // Batches that were stored and not acknowledged go the way of suspects, too.
                    && place.depth("ha.events").await == 0
                    && place.depth("ha.suspects").await == 0;
                    is_done.then_some(())
                },
            )
            .await;
        };
        let has_died = tokio::select! {
            () = done => false,
            () = process.has_ended() => true,
        };
        if !has_died {
            break;
        }
        let ended = process.ended().await;
        assert_eq!(ended.status.signal(), Some(SIGABRT), "{}", ended.output);
        deaths += 1;
        assert!(
            deaths <= 7,
            "three deaths of the batch, four of the event: {}",
            ended.output
        );
        process = worker(&variables);
    }
    process.stop().await;
    assert_eq!(place.count().await, expected);
    for queue in ["ha.events", "ha.suspects"] {
        assert_eq!(place.depth(queue).await, 0, "{queue}");
    }
    let listing = ["dlq", "list", "--json"];
    let amqp = [("AMQP_URL", place.amqp_url())];
    let listed = Process::start(Path::new(env!("CARGO_BIN_EXE_worker")), &listing, &amqp);
    let listed = listed.ended().await.output;
    let dead_letters: Vec<serde_json::Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(dead_letters.len(), 1, "{listed}");
    assert_eq!(dead_letters[0]["reason"], "poison", "{listed}");
    assert!(dead_letters[0].to_string().contains(POISON), "{listed}");
}

/// How often each of the messages that are left was delivered before; they are taken.
async fn delivery_counts(place: &Place) -> Vec<i64> {
    let (connection, channel) = place.channel().await;
    let mut counts = Vec::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(message) = channel
        .basic_get("ha.events".into(), options)
        .await
        .unwrap()
    {
        let headers = message.properties.headers().clone().unwrap_or_default();
        counts.push(match headers.inner().get("x-delivery-count") {
            Some(AMQPValue::LongLongInt(count)) => *count,
            Some(other) => panic!("{other:?}"),
            None => 0,
        });
    }
    let _ = connection.close(200, "bye".into()).await;
    counts
}

#[tokio::test]
async fn restarts_in_good_order_bring_no_batch_near_the_suspects() {
    const RESTARTS: usize = 6;
    let place = Place::new().await;
    let slow = SlowDatabase::start(place.services.influxdb_v2_url(), Duration::from_millis(20));
    let slow = slow.await;
    let mut variables = variables(&place);
    variables.retain(|(name, _)| *name != "INFLUXDB_URL");
    variables.extend([
        ("INFLUXDB_URL", slow.url.clone()),
        ("PREFETCH_EVENTS_MAX", "3000".into()),
        ("BATCH_POINTS_MAX", "100".into()),
    ]);
    let first = worker(&variables);
    first.wait_until_ready().await;
    let (_connection, channel) = place.channel().await;
    let batches = many(1_000);
    publish(&channel, &batches).await;
    let mut running = Some(first);
    for _ in 0..RESTARTS {
        let process = running.take().unwrap_or_else(|| worker(&variables));
        let written = slow.writes();
        eventually("some writes", async || {
            (slow.writes() > written + 3).then_some(())
        })
        .await;
        process.stop().await;
    }
    eventually("the rest in the queue", async || {
        let left = place.depth("ha.events").await;
        (left * 100 + place.count().await == batches.len() * 100).then_some(())
    })
    .await;
    let counts = delivery_counts(&place).await;
    let most = counts.iter().max();
    println!(
        "{} batches left, delivered before at most {most:?} times",
        counts.len()
    );
    assert!(!counts.is_empty(), "not in the middle");
    assert_eq!(most, Some(&0));
}
