//! The whole way of the capture, as often as the first argument says, for a profiler:
//!
//! ```text
//! cargo build --release -p ha-enrich --example passes
//! valgrind --tool=callgrind target/release/examples/passes 1
//! ```
//!
//! Instructions do not depend on what else the machine does. Those of an event are the difference
//! between two numbers of passes, by the events of the passes between them. With a second argument,
//! `parse`, only serde_json is run over the same bytes, to compare.

#![allow(
    clippy::expect_used,
    reason = "on unreadable input there is nothing to profile"
)]

use flate2::read::GzDecoder;
use ha_enrich::{ObservedWeather, Options, enrich_among};
use ha_frame::{Envelope, Origin, WeatherFacts};
use ha_point::{Format, PointBuffer};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::hint::black_box;
use std::io::{BufRead, BufReader};

const CAPTURE: &[u8] = include_bytes!("../fixtures/home-assistant-2024.3.3.jsonl.gz");

#[derive(serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let passes = arguments
        .next()
        .map_or(1, |text| text.parse().expect("a number"));
    let only_parse = arguments.next().is_some_and(|what| what == "parse");
    let lines = BufReader::new(GzDecoder::new(CAPTURE)).lines();
    let envelopes: Vec<_> = lines
        .zip(1..)
        .map(|(line, sequence)| {
            let line = line.expect("the fixture is readable");
            let message: Message<'_> = serde_json::from_str(&line).expect("a message");
            Envelope {
                id: Default::default(),
                instance: "home".into(),
                epoch: Some(1_795_297_000_000),
                sequence: Some(sequence),
                received_at_ns: 1_795_297_400_000_000_000,
                origin: Origin::Live,
                json: message.event.get().as_bytes().to_vec().into(),
            }
        })
        .collect();
    let weather = WeatherFacts {
        observed_at_us: 1_795_297_300_000_000,
        condition: "sunny".into(),
        attributes: r#"{"temperature":21.6,"temperature_unit":"°C","humidity":92}"#.into(),
    };
    // As the pipeline does: read once a frame.
    let observed = [ObservedWeather::of(&weather)];
    let options = Options::default();
    let mut bytes = 0;
    for _ in 0..passes {
        if only_parse {
            for envelope in &envelopes {
                black_box(serde_json::from_slice::<IgnoredAny>(&envelope.json).expect("JSON"));
            }
            continue;
        }
        let mut buffer = PointBuffer::new(Format::LineProtocol);
        for envelope in &envelopes {
            let (point, report) = enrich_among(envelope, &observed, &options).expect("an event");
            black_box(report);
            buffer.push(point);
        }
        bytes += buffer.bytes_len();
    }
    println!("{} events, {passes} passes, {bytes} bytes", envelopes.len());
}
