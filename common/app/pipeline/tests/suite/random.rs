//! Whatever comes in, every ticket comes out once, and every event is a point or a letter.

use crate::support::{Running, embedded, frame, newer_frame, state_changed, stored};
use ha_pipeline::{Outcome, PipelineOptions, Reason};
use proptest::prelude::*;
use std::time::Duration;

/// One frame of a random stream.
#[derive(Debug, Clone)]
enum Input {
    /// Events, valid or not.
    Frame(Vec<bool>),
    /// A frame without its end.
    Torn(usize),
    /// Any bytes.
    Rubbish(Vec<u8>),
    Newer,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => prop::collection::vec(prop::bool::weighted(0.9), 1..40).prop_map(Input::Frame),
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

/// The bytes of an input, and how many points and letters they are. Each event has its own time.
fn bytes(input: &Input, next: &mut u32) -> (Vec<u8>, usize, usize) {
    match input {
        Input::Frame(events) => {
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
            (frame(&events), valid, events.len() - valid)
        }
        Input::Torn(cut) => {
            let mut whole = frame(&[state_changed("sensor.torn", "1", 1)]);
            whole.truncate(*cut);
            (whole, 0, 1)
        }
        Input::Rubbish(bytes) => (bytes.clone(), 0, 1),
        Input::Newer => (newer_frame(), 0, 0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_ticket_comes_out_once(
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
            let (mut next, mut points, mut letters) = (0, 0, 0);
            for (ticket, input) in inputs.iter().enumerate() {
                let (bytes, of_points, of_letters) = bytes(input, &mut next);
                points += of_points;
                letters += of_letters;
                running.send(ticket as u64, bytes).await;
            }
            let (outcomes, written) = running.finish().await;

            let mut tickets: Vec<_> = outcomes
                .iter()
                .map(|outcome| match outcome {
                    Outcome::Settled(ticket) => (*ticket, false),
                    Outcome::NewerVersion(ticket, _) => (*ticket, true),
                })
                .collect();
            tickets.sort_unstable();
            let expected: Vec<_> = inputs
                .iter()
                .enumerate()
                .map(|(ticket, input)| (ticket as u64, matches!(input, Input::Newer)))
                .collect();
            assert_eq!(tickets, expected);
            assert_eq!(stored(&path).len(), points);
            assert_eq!(written.len(), letters);
            assert!(written.iter().all(|letter| {
                matches!(letter.reason, Reason::Undecodable | Reason::InvalidEvent)
            }));
        });
    }
}
