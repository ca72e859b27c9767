//! Batches a second on one core, there and back: one event by itself, as at rest, and a full batch,
//! as under load, of a real Home Assistant's events. `cargo bench -p ha-frame`.

#![allow(
    clippy::expect_used,
    reason = "a benchmark on unreadable input has nothing to measure"
)]

use criterion::{Criterion, Throughput};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use ha_batch::{Batch, compress, decode, decompress, encode};
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::time::Duration;

const BATCH_EVENTS: [usize; 2] = [1, 250];

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
    for events in BATCH_EVENTS {
        let envelopes = captured.iter().enumerate().take(events);
        let batch = Batch::new(envelopes.map(ha_capture::envelope).collect());
        let mut bytes = Vec::new();
        encode(&batch, &mut bytes).expect("a batch");
        let mut out = Vec::with_capacity(bytes.len());
        let mut group = criterion.benchmark_group(format!("batch of {events}"));
        group.throughput(Throughput::Elements(events as u64));
        group.bench_function("encode", |bench| {
            bench.iter(|| {
                out.clear();
                encode(black_box(&batch), &mut out).expect("a batch");
                black_box(out.len())
            });
        });
        group.bench_function("decode", |bench| {
            bench.iter(|| {
                let batch = decode(black_box(&bytes)).expect("a batch");
                black_box(batch.envelopes.len())
            });
        });
        let compressed = compress(&bytes).expect("a compressed batch");
        println!(
            "a batch of {events}: {} bytes an event, compressed {}",
            bytes.len() / events,
            compressed.len() / events
        );
        group.bench_function("pack", |bench| {
            bench.iter(|| {
                compress(black_box(&bytes))
                    .expect("a compressed batch")
                    .len()
            });
        });
        group.bench_function("unpack", |bench| {
            bench.iter(|| decompress(black_box(&compressed)).expect("a batch").len());
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
                read.expect("a batch")
            });
        });
        group.finish();
    }
}
