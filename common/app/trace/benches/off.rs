//! What traces cost where they are off (the default): the throughput of batches on their way through
//! the pure core (encoded, decoded, enriched, made into line protocol), with the calls that make
//! spans, and absent. Both in turns, in one run, in processor time of one thread.
//!
//! `cargo bench -p ha-trace`. It ends with code 1 where off is below 0.98 of absent for full batches,
//! which is what there is where throughput counts: batches of one event come a few hundred a second at
//! most, and the figure for them is printed beside. At the end, for comparison, what the calls cost
//! where traces are on and a batch is not sampled.

#![allow(
    clippy::expect_used,
    reason = "a benchmark on unreadable input has nothing to measure"
)]

use futures_util::FutureExt;
use ha_batch::Batch;
use ha_enrich::{Options, enrich_among};
use ha_point::encode_line;
use ha_trace::{Context, Sampling, TraceOptions};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Off to absent, at least.
const RATIO_MIN: f64 = 0.98;

/// How often both are measured, and how long each; the figure is the median.
const TURNS: usize = 101;
const TURN: Duration = Duration::from_millis(30);

fn main() -> ExitCode {
    let events = ha_capture::events();
    let envelopes: Vec<_> = events
        .iter()
        .enumerate()
        .map(ha_capture::envelope)
        .collect();
    let mut is_free = true;
    for events_per_batch in [100, 1] {
        let batches: Vec<_> = envelopes
            .chunks(events_per_batch)
            .map(|envelopes| Batch::new(envelopes.to_vec()))
            .collect();
        let ratio = off_to_absent(&batches);
        is_free &= ratio >= RATIO_MIN || events_per_batch == 1;
        println!(
            "batches of {events_per_batch:>3} events: off / absent = {ratio:.4} of the throughput"
        );
    }
    let off = nanoseconds(spans);
    let rustls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ));
    let rustls = rustls.with_safe_default_protocol_versions();
    let rustls = rustls.expect("versions of TLS");
    let roots = rustls::RootCertStore::empty();
    let traces = ha_trace::install(&TraceOptions {
        endpoint: "http://127.0.0.1:9/v1/traces".into(),
        tls: Arc::new(rustls.with_root_certificates(roots).with_no_client_auth()),
        sampling: Sampling::ParentBasedRatio(0.0),
        service: "bench",
        instance: None,
    });
    println!(
        "the calls of a batch: off {off:.0} ns, on and not sampled {:.0} ns",
        nanoseconds(spans)
    );
    drop(traces);
    if is_free {
        ExitCode::SUCCESS
    } else {
        eprintln!("traces that are off cost more than {RATIO_MIN} allows");
        ExitCode::FAILURE
    }
}

/// The calls of one batch, from the socket to the write.
fn spans() {
    way(true, &mut || ());
}

/// A batch on its way, with the calls or without.
fn way(is_traced: bool, work: &mut impl FnMut()) {
    if !is_traced {
        return work();
    }
    let received = ha_trace::batch(black_box(1_000), 100);
    let batch = received.context();
    let sending = async {
        let sent = ha_trace::send(&batch, "ha.events", 100);
        let header = sent.traceparent();
        let processed = ha_trace::process(header.as_deref(), "ha.events");
        let batches = [&processed.context(), &Context::default()];
        let written = ha_trace::write(batches.into_iter(), 100);
        ha_trace::within(&written.context(), async { work() }).await;
    };
    black_box(ha_trace::within(&batch, sending).now_or_never());
}

/// The median of what off has of the throughput of absent.
fn off_to_absent(batches: &[Batch<'_>]) -> f64 {
    let options = Options::default();
    let mut bytes = Vec::new();
    let mut lines = Vec::new();
    let mut rate = |is_traced: bool| {
        let (start, mut rounds) = (cpu_time(), 0_u32);
        while cpu_time() - start < TURN {
            for batch in batches {
                way(is_traced, &mut || {
                    bytes.clear();
                    lines.clear();
                    ha_batch::encode(batch, &mut bytes).expect("a batch");
                    let batch = ha_batch::decode(&bytes).expect("a batch");
                    for envelope in &batch.envelopes {
                        let (mut point, report) =
                            enrich_among(envelope, &[], &options).expect("an event");
                        black_box(report);
                        if point.seal() {
                            encode_line(&point, &mut lines);
                        }
                    }
                    black_box(&lines);
                });
            }
            rounds += 1;
        }
        f64::from(rounds) / (cpu_time() - start).as_secs_f64()
    };
    rate(true);
    rate(false);
    let mut ratios: Vec<_> = (0..TURNS)
        .map(|turn| {
            // Which one comes first changes: what slows the machine down in between hits both.
            let off_first = turn % 2 == 0;
            let (first, second) = (rate(off_first), rate(!off_first));
            if off_first {
                first / second
            } else {
                second / first
            }
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[TURNS / 2]
}

fn nanoseconds(work: impl Fn()) -> f64 {
    const ROUNDS: u32 = 200_000;
    let start = cpu_time();
    (0..ROUNDS).for_each(|_| work());
    (cpu_time() - start).as_nanos() as f64 / f64::from(ROUNDS)
}

/// Processor time of this thread: what others do on the machine is not counted.
fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
