//! Events a second on one core, on a real capture: parsing alone, the event, the whole way to line
//! protocol, and the whole with one stage's options changed, so that the difference is that stage.
//!
//! `cargo bench -p ha-enrich`. At the end it prints the ratio of the whole to parsing alone, both of
//! the same run.

#![allow(
    clippy::expect_used,
    reason = "a benchmark on unreadable input has nothing to measure"
)]

use criterion::{Criterion, Throughput};
use flate2::read::GzDecoder;
use ha_enrich::{AttributePolicy, Depth, Options, enrich_with_report};
use ha_frame::{Envelope, HomeFacts, Origin, WeatherFacts};
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

fn home() -> HomeFacts<'static> {
    HomeFacts {
        weather: Some(WeatherFacts {
            observed_at_us: 1_795_297_300_000_000,
            condition: "sunny".into(),
            attributes: r#"{"temperature":21.6,"temperature_unit":"°C","humidity":92}"#.into(),
        }),
        ..HomeFacts::default()
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
    let home = home();
    let bytes: usize = events.iter().map(Vec::len).sum();
    let full = Options::default();
    let whole = |options: &Options, out: &mut Vec<u8>| {
        out.clear();
        for envelope in &envelopes {
            let (mut point, report) =
                enrich_with_report(envelope, Some(&home), options).expect("an event");
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
            let (mut point, _) =
                enrich_with_report(envelope, Some(&home), &full).expect("an event");
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
                black_box(enrich_with_report(envelope, Some(&home), &full).expect("an event"));
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
                let (point, _) =
                    enrich_with_report(envelope, Some(&home), &full).expect("an event");
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
    let alone = rate(events.len(), ignored);
    let typed = rate(events.len(), value);
    let event = rate(events.len(), parsed);
    let all = rate(events.len(), || whole(&full, &mut out));
    let mean = bytes as f64 / events.len() as f64;
    println!(
        "events of {mean:.0} B, lines of {:.0} B",
        out.len() as f64 / events.len() as f64
    );
    for (name, rate) in [
        ("parse only (IgnoredAny)", alone),
        ("parse only (serde_json::Value)", typed),
        ("ha_event::parse", event),
        ("whole", all),
    ] {
        println!(
            "{name:32} {rate:>9.0} events/s {:>7.0} MB/s",
            rate * mean / 1e6
        );
    }
    println!("whole / parse only (IgnoredAny) = {:.2}", all / alone);
    println!(
        "whole / parse only (serde_json::Value) = {:.2}",
        all / typed
    );
}
