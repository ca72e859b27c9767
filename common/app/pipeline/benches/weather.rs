//! What a weather provider that hangs costs: the time from a batch's entry into the pipeline to its
//! settlement, with such a provider and without any, turn by turn in one run.
//!
//! `cargo bench -p ha-pipeline` prints both 99th percentiles and their ratio; at most 1.1 is wanted.
//! Points are discarded and no batch waits for company, so that nothing hides a wait.

#![allow(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use ha_batch::{Batch, Envelope, Origin};
use ha_enrich::Options;
use ha_pipeline::{
    AckHandle, DeadLetter, DeadLetterStore, LatencyRecorder, Pipeline, PipelineOptions, Work,
};
use ha_sink::{Null, Sink};
use ha_weather::{Provider, Weather, WeatherOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const TURNS: usize = 40;
const BATCHES_A_TURN: usize = 500;
const EVENTS_A_BATCH: usize = 20;

#[derive(Debug)]
struct NoDeadLetters;

impl DeadLetterStore for NoDeadLetters {
    async fn deliver(&self, _: Vec<DeadLetter>) {}
}

#[derive(Debug)]
struct First;

impl AckHandle for First {
    fn is_first_pass(&self) -> bool {
        true
    }
}

/// A server that accepts every connection and never says a word.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = listener.accept().await {
            held.push(connection);
        }
    });
    format!("http://{address}")
}

fn batch() -> Vec<u8> {
    let events: Vec<_> = (0..EVENTS_A_BATCH)
        .map(|n| {
            let time = format!("2026-11-21T21:42:14.{n:06}+00:00");
            format!(
                r#"{{"event_type":"state_changed","data":{{"entity_id":"sensor.s{n}","old_state":null,"new_state":{{"state":"{n}","attributes":{{"unit_of_measurement":"W","device_class":"power"}},"last_changed":"{time}","last_updated":"{time}"}}}},"time_fired":"{time}"}}"#
            )
        })
        .collect();
    let envelopes = events.iter().map(|json| Envelope {
        id: Default::default(),
        instance: "home".into(),
        run_id: Some(1),
        sequence: Some(1),
        received_at_ns: 1_795_297_334_000_000_000,
        origin: Origin::Live,
        json: json.as_bytes().into(),
    });
    let mut bytes = Vec::new();
    ha_batch::encode(&Batch::new(envelopes.collect()), &mut bytes).expect("a batch");
    bytes
}

fn pipeline(weather: Option<Weather>) -> Pipeline<NoDeadLetters> {
    let options = PipelineOptions {
        batch_points_max: 5_000,
        batch_age_max: Duration::ZERO,
        writes_in_flight_max: 4,
    };
    let latency = LatencyRecorder::new().expect("constant bounds");
    Pipeline::new(
        Arc::new(Sink::Null(Null::default())),
        Arc::new(NoDeadLetters),
        Arc::new(Options::default()),
        options,
        Arc::new(latency),
    )
    .with_weather(weather)
}

/// Batch after batch, each when the one before is settled; seconds of each.
async fn turn(pipeline: &Pipeline<NoDeadLetters>, payload: &[u8], seconds: &mut Vec<f64>) {
    let (work, input) = mpsc::channel(1);
    let (output, mut outcomes) = mpsc::channel(1);
    let sending = async {
        for _ in 0..BATCHES_A_TURN {
            let began = Instant::now();
            let item = Work {
                payload: payload.to_vec().into(),
                replay: None,
                ack_handle: First,
            };
            work.send(item).await.expect("the pipeline runs");
            outcomes.recv().await.expect("the pipeline runs");
            seconds.push(began.elapsed().as_secs_f64());
        }
        drop(work);
    };
    tokio::join!(pipeline.run(input, output), sending);
}

#[tokio::main]
async fn main() {
    let weather = Weather::new(WeatherOptions {
        provider: Provider::OpenMeteo,
        key: None,
        url: Some(silent().await.parse().expect("a URL")),
        place: Some((52.52, 13.41)),
        tls: None,
    });
    let with = pipeline(Some(weather.expect("a client")));
    let without = pipeline(None);
    let payload = batch();
    let (mut hanging, mut none) = (Vec::new(), Vec::new());
    turn(&without, &payload, &mut Vec::new()).await;
    for _ in 0..TURNS {
        turn(&with, &payload, &mut hanging).await;
        turn(&without, &payload, &mut none).await;
    }
    let quantile = |seconds: &mut Vec<f64>, share: f64| {
        seconds.sort_by(f64::total_cmp);
        seconds[(seconds.len() as f64 * share) as usize] * 1e6
    };
    for (name, seconds) in [
        ("a provider that hangs", &mut hanging),
        ("no provider", &mut none),
    ] {
        println!(
            "{name:22} p50 {:>6.0} µs   p99 {:>6.0} µs",
            quantile(seconds, 0.5),
            quantile(seconds, 0.99)
        );
    }
    println!(
        "p99 with / without = {:.2}",
        quantile(&mut hanging, 0.99) / quantile(&mut none, 0.99)
    );
}
