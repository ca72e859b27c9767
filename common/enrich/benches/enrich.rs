//! Events a second on one core, on a real capture: parsing alone, the event, the whole way to line
//! protocol, and the whole with one stage's options changed.
//!
//! `cargo bench -p ha-enrich`. At the end it prints what decoding, each stage and encoding cost, the
//! allocations of an event, and the ratio of the whole to parsing alone in the same run. Instructions,
//! which no neighbour on the machine disturbs, are counted with `examples/passes.rs`.

#![allow(
    clippy::expect_used,
    reason = "a benchmark on unreadable input has nothing to measure"
)]

use criterion::{Criterion, Throughput};
use flate2::read::GzDecoder;
use ha_enrich::{
    AttributePolicy, Depth, ObservedWeather, Options, STAGE_NAMES, enrich_among,
    enrich_first_stages,
};
use ha_frame::{Envelope, Origin, WeatherFacts};
use ha_point::{Format, PointBuffer, encode_line};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::time::Duration;

const CAPTURE: &[u8] = include_bytes!("../fixtures/home-assistant-2024.3.3.jsonl.gz");

fn events() -> Vec<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        event: &'a RawValue,
    }
    BufReader::new(GzDecoder::new(CAPTURE))
        .lines()
        .map(|line| line.expect("the fixture is readable"))
        .map(|line| {
            let message: Message<'_> = serde_json::from_str(&line).expect("a message");
            message.event.get().as_bytes().to_vec()
        })
        .collect()
}

fn envelopes(events: &[Vec<u8>]) -> Vec<Envelope<'_>> {
    let envelope = |(index, json): (usize, &'_ Vec<u8>)| Envelope {
        id: Default::default(),
        instance: "home".into(),
        epoch: Some(1_795_297_000_000),
        sequence: Some(index as u64 + 1),
        received_at_ns: 1_795_297_400_000_000_000,
        origin: Origin::Live,
        json: json.clone().into(),
    };
    events.iter().enumerate().map(envelope).collect()
}

fn weather() -> WeatherFacts<'static> {
    WeatherFacts {
        observed_at_us: 1_795_297_300_000_000,
        condition: "sunny".into(),
        attributes: r#"{"temperature":21.6,"temperature_unit":"°C","humidity":92}"#.into(),
    }
}

/// Processor time of this thread: what others do on the machine is not counted.
fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Events a second of processor time over whole rounds of the capture: the best of several quarters
/// of a second.
fn rate(events: usize, mut round: impl FnMut()) -> f64 {
    round();
    let quarter = || {
        let start = cpu_time();
        let mut rounds = 0_usize;
        while cpu_time() - start < Duration::from_millis(250) {
            round();
            rounds += 1;
        }
        (rounds * events) as f64 / (cpu_time() - start).as_secs_f64()
    };
    std::iter::repeat_with(quarter).take(6).fold(0.0, f64::max)
}

fn main() {
    let events = events();
    let envelopes = envelopes(&events);
    let weather = weather();
    // As the pipeline does: read once a frame.
    let observed = [ObservedWeather::of(&weather)];
    let bytes: usize = events.iter().map(Vec::len).sum();
    let full = Options::default();
    let whole = |options: &Options, out: &mut Vec<u8>| {
        out.clear();
        for envelope in &envelopes {
            let (mut point, report) = enrich_among(envelope, &observed, options).expect("an event");
            black_box(report);
            if point.seal() {
                encode_line(&point, out);
            }
        }
        black_box(&out);
    };
    let ignored = || {
        for json in &events {
            black_box(serde_json::from_slice::<IgnoredAny>(json).expect("JSON"));
        }
    };
    let value = || {
        for json in &events {
            black_box(serde_json::from_slice::<serde_json::Value>(json).expect("JSON"));
        }
    };
    let parsed = || {
        for json in &events {
            black_box(ha_event::parse(json).expect("an event"));
        }
    };

    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut group = criterion.benchmark_group("capture");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("json/ignored", |bench| bench.iter(ignored));
    group.bench_function("json/value", |bench| bench.iter(value));
    group.bench_function("event", |bench| bench.iter(parsed));
    group.bench_function("peek", |bench| {
        bench.iter(|| {
            for json in &events {
                black_box(ha_event::peek(json).expect("an event"));
            }
        });
    });
    let sealed: Vec<_> = envelopes
        .iter()
        .map(|envelope| {
            let (mut point, _) = enrich_among(envelope, &observed, &full).expect("an event");
            point.seal();
            point
        })
        .collect();
    let mut out = Vec::new();
    group.bench_function("encode", |bench| {
        bench.iter(|| {
            out.clear();
            for point in &sealed {
                encode_line(point, &mut out);
            }
        });
    });
    group.bench_function("enrich (no encode)", |bench| {
        bench.iter(|| {
            for envelope in &envelopes {
                black_box(enrich_among(envelope, &observed, &full).expect("an event"));
            }
        });
    });
    let plain = Options {
        depth: Depth::Plain,
        ..full.clone()
    };
    for (name, options) in [
        ("whole", full.clone()),
        ("whole/plain", plain.clone()),
        (
            "whole/plain, no attributes",
            Options {
                attributes: AttributePolicy::None,
                ..plain
            },
        ),
        (
            "whole/no weather",
            Options {
                weather: false,
                ..full.clone()
            },
        ),
        (
            "whole/units",
            Options {
                normalize_units: true,
                ..full.clone()
            },
        ),
        (
            "whole/context",
            Options {
                context_fields: true,
                ..full.clone()
            },
        ),
        (
            "whole/all attributes",
            Options {
                attributes: AttributePolicy::All,
                ..full.clone()
            },
        ),
    ] {
        let mut out = Vec::new();
        group.bench_function(name, |bench| bench.iter(|| whole(&options, &mut out)));
    }
    group.bench_function("whole/rows", |bench| {
        bench.iter(|| {
            let mut buffer = PointBuffer::new(Format::Rows);
            for envelope in &envelopes {
                let (point, _) = enrich_among(envelope, &observed, &full).expect("an event");
                buffer.push(point);
            }
            buffer.len()
        });
    });
    group.finish();
    if std::env::args().any(|argument| argument == "--profile-time") {
        return;
    }

    let mut out = Vec::new();
    let count = events.len();
    let mean = bytes as f64 / count as f64;
    let alone = rate(count, ignored);
    let all = rate(count, || whole(&full, &mut out));
    println!(
        "events of {mean:.0} B, lines of {:.0} B",
        out.len() as f64 / count as f64
    );
    let line = |name: &str, rate: f64| {
        println!(
            "{name:34} {rate:>9.0} events/s {:>6.0} MB/s",
            rate * mean / 1e6
        );
    };
    line("parse only (IgnoredAny)", alone);
    line("parse only (serde_json::Value)", rate(count, value));
    line("decode (ha_event::parse)", rate(count, parsed));
    // A stage is what the whole up to it costs more than the whole up to the one before.
    let up_to = |stages: usize| {
        1.0 / rate(count, || {
            for envelope in &envelopes {
                black_box(
                    enrich_first_stages(envelope, &observed, &full, stages).expect("an event"),
                );
            }
        })
    };
    let mut before = up_to(0);
    line("decode and gather", 1.0 / before);
    for (stages, name) in (1..).zip(STAGE_NAMES) {
        let seconds = up_to(stages);
        let ns = (seconds - before) * 1e9;
        println!("{:34} {ns:>9.0} ns an event", format!("stage {name}"));
        before = seconds;
    }
    line("all stages", 1.0 / before);
    line(
        "encode",
        rate(count, || {
            out.clear();
            sealed.iter().for_each(|point| encode_line(point, &mut out));
        }),
    );
    line("whole", all);
    println!("whole / parse only (IgnoredAny) = {:.2}", all / alone);
    let allocated = allocation_counter::measure(|| whole(&full, &mut out));
    println!(
        "{:.1} allocations an event, {:.0} B",
        allocated.count_total as f64 / count as f64,
        allocated.bytes_total as f64 / count as f64
    );
}
