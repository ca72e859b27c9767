//! Whatever comes in, every ack handle comes out once, and every event is a point or a dead letter.

use crate::support::{Running, batch, embedded, newer_batch, state_changed, stored};
use ha_pipeline::{Outcome, PipelineOptions, Reason};
use proptest::prelude::*;
use std::time::Duration;

/// One batch of a random stream.
#[derive(Debug, Clone)]
enum Input {
    /// Events, valid or not.
    Batch(Vec<bool>),
    /// A batch without its end.
    Torn(usize),
    /// Any bytes.
    Rubbish(Vec<u8>),
    Newer,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => prop::collection::vec(prop::bool::weighted(0.9), 1..40).prop_map(Input::Batch),
        1 => (0..200_usize).prop_map(Input::Torn),
        1 => prop::collection::vec(any::<u8>(), 0..50).prop_map(Input::Rubbish),
        1 => Just(Input::Newer),
    ]
}

fn limits() -> impl Strategy<Value = PipelineOptions> {
    (1..50_usize, 0..5_u64, 1..4_usize).prop_map(|(points, age_ms, writes)| PipelineOptions {
        batch_points_max: points,
        batch_age_max: Duration::from_millis(age_ms),
        writes_in_flight_max: writes,
    })
}

/// The bytes of an input, and how many points and dead letters they are. Each event has its own time.
fn bytes(input: &Input, next: &mut u32) -> (Vec<u8>, usize, usize) {
    match input {
        Input::Batch(events) => {
            let events: Vec<_> = events
                .iter()
                .map(|is_valid| {
                    *next += 1;
                    let entity = if *is_valid { "sensor.a" } else { "no entity" };
                    state_changed(entity, &next.to_string(), *next)
                })
                .collect();
            let valid = events
                .iter()
                .filter(|event| event.contains("sensor.a"))
                .count();
            (batch(&events), valid, events.len() - valid)
        }
        Input::Torn(cut) => {
            let mut whole = batch(&[state_changed("sensor.torn", "1", 1)]);
            whole.truncate(*cut);
            (whole, 0, 1)
        }
        Input::Rubbish(bytes) => (bytes.clone(), 0, 1),
        Input::Newer => (newer_batch(), 0, 0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_ack_handle_comes_out_once(
        inputs in prop::collection::vec(input(), 0..60),
        limits in limits(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (_dir, path, sink) = embedded().await;
            let running = Running::start(sink, limits);
            let (mut next, mut points, mut dead_letters) = (0, 0, 0);
            for (ack_handle, input) in inputs.iter().enumerate() {
                let (bytes, of_points, of_dead_letters) = bytes(input, &mut next);
                points += of_points;
                dead_letters += of_dead_letters;
                running.send(ack_handle as u64, bytes).await;
            }
            let (outcomes, written) = running.finish().await;

            let mut ack_handles: Vec<_> = outcomes
                .iter()
                .map(|outcome| match outcome {
                    Outcome::Settled(ack_handle) => (*ack_handle, false),
                    Outcome::NewerVersion(ack_handle, _) => (*ack_handle, true),
                })
                .collect();
            ack_handles.sort_unstable();
            let expected: Vec<_> = inputs
                .iter()
                .enumerate()
                .map(|(ack_handle, input)| (ack_handle as u64, matches!(input, Input::Newer)))
                .collect();
            assert_eq!(ack_handles, expected);
            assert_eq!(stored(&path).len(), points);
            assert_eq!(written.len(), dead_letters);
            assert!(written.iter().all(|dead_letter| {
                matches!(dead_letter.reason, Reason::Undecodable | Reason::InvalidEvent)
            }));
        });
    }
}
