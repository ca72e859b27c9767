//! Frames a second on one core, there and back: one event by itself, as at rest, and a full frame,
//! as under load, of a real Home Assistant's events. `cargo bench -p ha-frame`.

#![allow(
    clippy::expect_used,
    reason = "a benchmark on unreadable input has nothing to measure"
)]

use criterion::{Criterion, Throughput};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use ha_frame::{Frame, decode, encode, pack, unpack};
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::time::Duration;

const FRAME_EVENTS: [usize; 2] = [1, 250];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(1));
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn main() {
    let captured = ha_capture::events();
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for events in FRAME_EVENTS {
        let envelopes = captured.iter().enumerate().take(events);
        let frame = Frame::new(envelopes.map(ha_capture::envelope).collect());
        let mut bytes = Vec::new();
        encode(&frame, &mut bytes).expect("a frame");
        let mut out = Vec::with_capacity(bytes.len());
        let mut group = criterion.benchmark_group(format!("frame of {events}"));
        group.throughput(Throughput::Elements(events as u64));
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
        let packed = pack(&bytes).expect("a packed frame");
        println!(
            "a frame of {events}: {} bytes an event, packed {}",
            bytes.len() / events,
            packed.len() / events
        );
        group.bench_function("pack", |bench| {
            bench.iter(|| pack(black_box(&bytes)).expect("a packed frame").len());
        });
        group.bench_function("unpack", |bench| {
            bench.iter(|| unpack(black_box(&packed)).expect("a frame").len());
        });
        let gzipped = gzip(&bytes);
        println!("by gzip {}", gzipped.len() / events);
        group.bench_function("gzip, to compare", |bench| {
            bench.iter(|| gzip(black_box(&bytes)).len());
        });
        group.bench_function("gunzip, to compare", |bench| {
            bench.iter(|| {
                let mut out = Vec::with_capacity(bytes.len());
                let read = GzDecoder::new(black_box(gzipped.as_slice())).read_to_end(&mut out);
                read.expect("a frame")
            });
        });
        group.finish();
    }
}
