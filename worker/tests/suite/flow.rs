//! Batches in, points and dead letters out, and nothing twice or lost over a stop.

use crate::batches::{batch, encoded, many, publish, state_changed};
use crate::slow_database::SlowDatabase;
use crate::{variables, worker};
use ha_batch::Batch;
use ha_kit::{Place, Process, eventually};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn batches_become_points_and_rubbish_a_dead_letter_while_the_rest_flows_on() {
    let place = Place::new().await;
    let process = worker(&variables(&place));
    process.wait_until_ready().await;

    let invalid = r#"{"event_type":"state_changed","data":{}}"#.to_owned();
    let mixed = batch(&[
        state_changed("sensor.a", "21.5", 1),
        invalid,
        state_changed("light.b", "on", 2),
    ]);
    let trailing = [batch(&[state_changed("sensor.c", "1", 3)]), vec![0]].concat();
    let last = batch(&[state_changed("sensor.d", "unavailable", 4)]);
    let empty = encoded(&Batch::new(Vec::new()));
    let bodies = [
        mixed,
        b"rubbish \xff\x00".to_vec(),
        Vec::new(),
        trailing.clone(),
        empty,
        last,
    ];
    let (_connection, channel) = place.channel().await;
    publish(&channel, &bodies).await;

    eventually("three points", async || {
        (place.count().await == 3).then_some(())
    })
    .await;
    eventually("five dead letters", async || {
        (place.depth("ha.dead-letters").await == 5).then_some(())
    })
    .await;
    eventually("an empty queue", async || {
        (place.depth("ha.events").await == 0).then_some(())
    })
    .await;

    let points = place.points().await;
    let seen: Vec<_> = points
        .iter()
        .map(|point| {
            (
                point.text("entity_id"),
                point.text("state"),
                point.time_ns % 1_000_000,
            )
        })
        .collect();
    let expected = [
        ("sensor.a", "21.5", 1_000),
        ("light.b", "on", 2_000),
        ("sensor.d", "unavailable", 4_000),
    ];
    assert_eq!(seen, expected);
    assert_eq!(points[0].columns["value"], 21.5);
    assert_eq!(points[0].text("instance"), "home");
    assert_eq!(points[0].text("domain"), "sensor");
    assert_eq!(points[1].columns["value"], 1.0);
    assert_eq!(points[2].columns["available"], false);

    let dead_letters = place.dead_letters().await;
    let mut reasons = Vec::new();
    for (body, headers) in &dead_letters {
        let names = [
            "reason",
            "stage",
            "error",
            "fingerprint",
            "first-failed-at",
            "attempts",
            "replays",
        ];
        for name in names {
            let value = headers.get(&format!("x-ha-{name}"));
            assert!(
                value.is_some_and(|value| !value.is_empty()),
                "{name}: {headers:?}"
            );
        }
        reasons.push((
            headers["x-ha-reason"].as_str(),
            headers["x-ha-stage"].as_str(),
        ));
        if headers["x-ha-reason"] == "invalid_event" {
            let batch = ha_batch::decode(body).unwrap();
            assert_eq!(batch.envelopes.len(), 1);
            assert!(batch.envelopes[0].json.ends_with(br#""data":{}}"#));
        }
    }
    reasons.sort_unstable();
    assert_eq!(reasons[0], ("invalid_event", "enrich"));
    assert_eq!(reasons[1..], [("undecodable", "decode"); 4]);
    let foreign: BTreeSet<_> = dead_letters.iter().map(|(body, _)| body.clone()).collect();
    assert!(foreign.contains(b"rubbish \xff\x00".as_slice()) && foreign.contains(&trailing));
    process.stop().await;
}

#[tokio::test]
async fn a_term_in_the_middle_settles_what_is_held_and_the_next_run_finishes_the_rest() {
    const BATCHES: u64 = 200;
    const EVENTS: usize = BATCHES as usize * 100;
    let place = Place::new().await;
    let slow = SlowDatabase::start(place.services.influxdb_v2_url(), Duration::from_millis(30));
    let slow = slow.await;
    let mut variables = variables(&place);
    variables.retain(|(name, _)| *name != "INFLUXDB_URL");
    variables.extend([
        ("INFLUXDB_URL", slow.url.clone()),
        ("PREFETCH_EVENTS_MAX", "3000".into()),
        ("BATCH_POINTS_MAX", "500".into()),
        ("SHUTDOWN_GRACE_S", "20".into()),
    ]);
    // The worker declares the queue; batches wait until it has stopped again.
    let first = worker(&variables);
    first.wait_until_ready().await;
    let (_connection, channel) = place.channel().await;
    publish(&channel, &many(BATCHES)).await;
    eventually("some writes", async || (slow.writes() >= 3).then_some(())).await;
    let asked = Instant::now();
    first.terminate();
    let ended = first.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );

    // Every event is stored or queued, and none is both: what was written is not given back.
    let stored = place.count().await;
    assert!(
        stored > 0 && stored < EVENTS,
        "{stored} stored: not in the middle"
    );
    eventually("the rest in the queue", async || {
        (place.depth("ha.events").await * 100 == EVENTS - stored).then_some(())
    })
    .await;

    let second = worker(&variables);
    eventually("all points", async || {
        (place.count().await == EVENTS).then_some(())
    })
    .await;
    eventually("an empty queue", async || {
        (place.depth("ha.events").await == 0).then_some(())
    })
    .await;
    // By the worker's own count: what the broker counted of a closed channel, its statistics may
    // lose. Nothing that was settled before the stop came again.
    let left = (EVENTS - stored) as u64;
    let written = eventually("the count of all points", async || {
        let written = points_written(&second).await;
        (written >= left).then_some(written)
    });
    assert_eq!(written.await, left);
    second.stop().await;

    let points = place.points().await;
    let states: BTreeSet<_> = points.iter().map(|point| point.text("state")).collect();
    assert_eq!(
        (points.len(), states.len()),
        (EVENTS, EVENTS),
        "an event on two points, or none"
    );
    assert_eq!(place.depth("ha.dead-letters").await, 0);
}

async fn points_written(process: &Process) -> u64 {
    let (_, metrics) = process.get("/metrics").await;
    let name = "ha_ingestor_sink_points_written_total ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(name));
    count.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_newer_batch_pauses_the_worker_and_is_kept() {
    let place = Place::new().await;
    let process = worker(&variables(&place));
    process.wait_until_ready().await;
    let events = [state_changed("sensor.a", "1", 1)];
    let bytes = batch(&events);
    let mut newer = ha_batch::decode(&bytes).unwrap();
    newer.version = ha_batch::VERSION + 1;
    let (_connection, channel) = place.channel().await;
    publish(&channel, &[encoded(&newer)]).await;
    process
        .wait_until_not_ready(&["version 2", "upgrade the workers"])
        .await;
    eventually("the batch back", async || {
        (place.depth("ha.events").await == 1).then_some(())
    })
    .await;
    process.stop().await;
    assert_eq!(place.depth("ha.events").await, 1);
    assert_eq!(place.depth("ha.dead-letters").await, 0);
}

#[tokio::test]
async fn two_workers_share_the_queue_and_store_everything_once() {
    let place = Place::new().await;
    let mut variables = variables(&place);
    variables.push(("PREFETCH_EVENTS_MAX", "5000".into()));
    let workers: [Process; 2] = [worker(&variables), worker(&variables)];
    for worker in &workers {
        worker.wait_until_ready().await;
    }
    let (_connection, channel) = place.channel().await;
    publish(&channel, &many(100)).await;
    eventually("all points", async || {
        (place.count().await == 10_000).then_some(())
    })
    .await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(place.depth("ha.events").await, 0);
    assert_eq!(place.count().await, 10_000);
}
