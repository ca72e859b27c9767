//! Frames a second on one core, there and back: one event by itself, as at rest, and a full frame,
//! as under load. `cargo bench -p ha-frame`.

#![allow(
    clippy::expect_used,
    reason = "a benchmark on unreadable input has nothing to measure"
)]

use criterion::{Criterion, Throughput};
use ha_frame::{Envelope, Frame, Origin, decode, encode};
use std::hint::black_box;
use std::time::Duration;
use uuid::Uuid;

/// About the median of a home's events.
const EVENT_BYTES: usize = 1_041;
const FRAME_EVENTS: [u64; 2] = [1, 100];

fn frame(json: &[u8], events: u64) -> Frame<'_> {
    let envelopes = (1..=events).map(|sequence| Envelope {
        id: Uuid::from_u128(u128::from(sequence)),
        instance: "home".into(),
        epoch: Some(1_795_297_000_000),
        sequence: Some(sequence),
        received_at_ns: 1_795_297_400_000_000_000,
        origin: Origin::Live,
        json: json.into(),
    });
    Frame::new(envelopes.collect())
}

fn main() {
    let json = vec![b'x'; EVENT_BYTES];
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for events in FRAME_EVENTS {
        let frame = frame(&json, events);
        let mut bytes = Vec::new();
        encode(&frame, &mut bytes).expect("a frame");
        let mut out = Vec::with_capacity(bytes.len());
        let mut group = criterion.benchmark_group(format!("frame of {events}"));
        group.throughput(Throughput::Elements(events));
        group.bench_function("encode", |bench| {
            bench.iter(|| {
                out.clear();
                encode(black_box(&frame), &mut out).expect("a frame");
                black_box(out.len())
            });
        });
        group.bench_function("decode", |bench| {
            bench.iter(|| {
                let frame = decode(black_box(&bytes)).expect("a frame");
                black_box(frame.envelopes.len())
            });
        });
        group.finish();
    }
}
