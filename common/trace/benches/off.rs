//! What spans cost where traces are off (the default), and where they are on and not sampled:
//! a frame has four of them, and up to 100 events.

use criterion::{Criterion, criterion_group, criterion_main};
use ha_trace::{Context, Sampling, TraceOptions};
use std::hint::black_box;

/// The spans of one frame, from the socket to the write.
fn frame() {
    let frame = ha_trace::frame(black_box(1_000), 100);
    let send = ha_trace::send(&frame.context(), "ha.events", 100);
    let header = send.traceparent();
    let process = ha_trace::process(header.as_deref(), "ha.events");
    black_box(ha_trace::write(
        [&process.context(), &Context::default()].into_iter(),
        100,
    ));
}

fn off_and_unsampled(criterion: &mut Criterion) {
    criterion.bench_function("a frame's spans, traces off", |bencher| bencher.iter(frame));
    let options = TraceOptions {
        endpoint: "http://127.0.0.1:9".into(),
        sampling: Sampling::ParentBasedRatio(0.0),
        service: "bench",
        instance: None,
    };
    let traces = ha_trace::install(&options);
    criterion.bench_function("a frame's spans, not sampled", |bencher| {
        bencher.iter(frame)
    });
    drop(traces);
}

criterion_group!(benches, off_and_unsampled);
criterion_main!(benches);
