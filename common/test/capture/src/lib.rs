//! A real Home Assistant's events (2024.3.3, 3,000 state changes), for benchmarks, profiles and tests.

#![allow(
    clippy::expect_used,
    reason = "on an unreadable fixture there is nothing to do"
)]

use flate2::read::GzDecoder;
use ha_batch::{Envelope, Origin, WeatherFacts};
use serde_json::value::RawValue;
use std::io::{BufRead, BufReader};

const CAPTURE: &[u8] = include_bytes!("../home-assistant-2024.3.3.jsonl.gz");

/// The events' own bytes, without the message of the WebSocket around them.
#[must_use]
pub fn events() -> Vec<Vec<u8>> {
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

/// As the producer sends it: live, and numbered from one.
#[must_use]
pub fn envelope((index, json): (usize, &Vec<u8>)) -> Envelope<'_> {
    Envelope {
        id: Default::default(),
        instance: "home".into(),
        run_id: Some(1_795_297_000_000),
        sequence: Some(index as u64 + 1),
        received_at_ns: 1_795_297_400_000_000_000,
        origin: Origin::Live,
        json: json.as_slice().into(),
    }
}

/// What the home's weather entity said before the first of them.
#[must_use]
pub fn weather() -> WeatherFacts<'static> {
    WeatherFacts {
        observed_at_us: 1_795_297_300_000_000,
        condition: "sunny".into(),
        attributes: r#"{"temperature":21.6,"temperature_unit":"°C","humidity":92}"#.into(),
    }
}
