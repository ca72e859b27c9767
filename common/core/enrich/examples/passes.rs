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

use ha_enrich::{ObservedWeather, Options, enrich_among};
use ha_point::{Format, PointBuffer};
use serde::de::IgnoredAny;
use std::hint::black_box;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let passes = arguments
        .next()
        .map_or(1, |text| text.parse().expect("a number"));
    let only_parse = arguments.next().is_some_and(|what| what == "parse");
    let events = ha_capture::events();
    let envelopes: Vec<_> = events
        .iter()
        .enumerate()
        .map(ha_capture::envelope)
        .collect();
    let weather = ha_capture::weather();
    // As the pipeline does: read once a batch.
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
