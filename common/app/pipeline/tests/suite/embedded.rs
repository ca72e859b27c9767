//! With the embedded database: what becomes a point, and what a dead letter.

use crate::support::{
    Running, SOON, batch, batch_of, embedded, encoded, newer_batch, options, state_changed, stored,
};
use ha_batch::Batch;
use ha_pipeline::{Outcome, PipelineOptions, Reason};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn each_event_is_a_point_or_a_dead_letter_and_each_batch_is_settled() {
    let (_dir, path, sink) = embedded().await;
    let running = Running::start(sink, options());
    let invalid = [
        "no json".to_owned(),
        r#"{"event_type":"state_changed","data":{}}"#.to_owned(),
        state_changed("no_dot", "1", 5),
        state_changed("light.kitchen", "on", 6).replace("2026-01-01", "yesterday"),
    ];
    let good = |n: u32| state_changed("sensor.a", &n.to_string(), n);
    let mixed = [good(1), invalid[0].clone(), good(2), invalid[1].clone()];
    running.send(1, batch(&mixed)).await;
    running.send(2, b"rubbish".to_vec()).await;
    running
        .send(3, batch(&[invalid[2].clone(), invalid[3].clone()]))
        .await;
    let whole = batch(&[good(8)]);
    running.send(4, whole[..whole.len() - 1].to_vec()).await;
    running.send(5, [whole.clone(), vec![0]].concat()).await;
    running.send(6, encoded(&Batch::new(Vec::new()))).await;
    running.send(7, batch(&[good(9)])).await;
    let (outcomes, dead_letters) = running.finish().await;

    let mut ack_handles: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Settled(ack_handle) => *ack_handle,
            Outcome::NewerVersion(..) => panic!("{outcome:?}"),
        })
        .collect();
    ack_handles.sort_unstable();
    assert_eq!(ack_handles, [1, 2, 3, 4, 5, 6, 7]);
    let expected = ["1", "2", "9"].map(|state| ("sensor.a".to_owned(), state.to_owned()));
    assert_eq!(stored(&path), expected);

    let of = |reason| {
        dead_letters
            .iter()
            .filter(move |dead_letter| dead_letter.reason == reason)
    };
    assert_eq!(dead_letters.len(), 8);
    let foreign: Vec<_> = of(Reason::Undecodable)
        .map(|dead_letter| dead_letter.payload.to_vec())
        .collect();
    assert_eq!(foreign.len(), 4);
    assert_eq!(foreign[0], b"rubbish");
    assert!(of(Reason::Undecodable).all(|dead_letter| dead_letter.stage == "decode"));
    // A dead letter of one event is a batch that can be sent again.
    for (dead_letter, json) in of(Reason::InvalidEvent).zip(&invalid) {
        assert_eq!(dead_letter.stage, "enrich");
        assert!(!dead_letter.error.is_empty());
        let batch = ha_batch::decode(&dead_letter.payload).unwrap();
        assert_eq!(batch.envelopes.len(), 1);
        assert_eq!(batch.envelopes[0].json, json.as_bytes());
    }
    assert_eq!(of(Reason::InvalidEvent).count(), invalid.len());
    let domains: Vec<_> = of(Reason::InvalidEvent)
        .map(|dead_letter| dead_letter.domain.as_str())
        .collect();
    assert_eq!(domains, ["", "", "", "light"]);
}

#[tokio::test]
async fn a_newer_batch_is_handed_back_and_its_neighbours_are_stored() {
    let (_dir, path, sink) = embedded().await;
    let running = Running::start(sink, options());
    running
        .send(1, batch(&[state_changed("sensor.a", "1", 1)]))
        .await;
    running.send(2, newer_batch()).await;
    running
        .send(3, batch(&[state_changed("sensor.a", "3", 3)]))
        .await;
    let (outcomes, dead_letters) = running.finish().await;
    assert!(dead_letters.is_empty(), "{dead_letters:?}");
    assert_eq!(outcomes.len(), 3);
    assert!(
        outcomes.contains(&Outcome::NewerVersion(2, ha_batch::VERSION + 1)),
        "{outcomes:?}"
    );
    assert_eq!(stored(&path).len(), 2);
}

#[tokio::test]
async fn the_same_batch_twice_is_one_point_each() {
    let (_dir, path, sink) = embedded().await;
    let running = Running::start(sink, options());
    let events = [
        state_changed("sensor.a", "1", 1),
        state_changed("sensor.b", "2", 1),
    ];
    running.send(1, batch(&events)).await;
    running.send(2, batch(&events)).await;
    let (outcomes, _) = running.finish().await;
    assert_eq!(outcomes.len(), 2);
    assert_eq!(stored(&path).len(), 2);
}

#[tokio::test]
async fn a_lonely_batch_and_a_full_batch_wait_for_nobody() {
    let (_dir, path, sink) = embedded().await;
    let options = PipelineOptions {
        batch_age_max: Duration::from_secs(3_600),
        batch_points_max: 2,
        ..options()
    };
    let mut running = Running::start(sink, options);
    let event = |n: u32| state_changed("sensor.a", &n.to_string(), n);
    for (ack_handle, events) in [(1, vec![event(1)]), (2, vec![event(2), event(3)])] {
        running.send(ack_handle, batch(&events)).await;
        let outcome = timeout(SOON, running.outcome()).await.unwrap();
        assert_eq!(outcome, Outcome::Settled(ack_handle));
    }
    assert_eq!(stored(&path).len(), 3, "the input is still open");
    let (count, ..) = running.latency.summary();
    assert_eq!(count, 3);
    running.finish().await;
}

#[tokio::test]
async fn imports_backfill_and_records_have_no_latency() {
    let (_dir, path, sink) = embedded().await;
    let running = Running::start(sink, options());
    let latency = std::sync::Arc::clone(&running.latency);
    let events = [
        state_changed("sensor.a", "1", 1),
        state_changed("sensor.a", "2", 2),
        r#"{"event_type":"ha_ingestor_entity","data":{"entity_id":"sensor.a","unit":"W"},"time_fired":"2026-01-01T00:00:00.000003+00:00"}"#.to_owned(),
        state_changed("sensor.a", "4", 4),
    ];
    let mut of = batch_of(&events);
    of.envelopes[0].origin = ha_batch::Origin::Import;
    of.envelopes[1].origin = ha_batch::Origin::Backfill;
    of.envelopes[2].sequence = None;
    running.send(1, encoded(&of)).await;
    running.finish().await;
    assert_eq!(stored(&path).len(), 4);
    assert_eq!(latency.summary().0, 1, "the last alone is live");
}
