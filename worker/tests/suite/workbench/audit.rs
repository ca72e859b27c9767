//! The audit against a database from which something is missing.

use super::support::{Place, RUN_ID, bad_dead_letter, encoded, envelope, event, time_us};
use ha_event::UtcMicros;
use ha_simulator::{HouseOptions, Simulator, SimulatorOptions};
use ha_source::{Source, SourceEvent, SourceOptions};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Events 1 to `count` of the run, in batches of a hundred.
async fn store(place: &Place, count: u64) {
    let json: Vec<_> = (1..=count)
        .map(|sequence| event(&format!("sensor.s{}", sequence % 7), sequence))
        .collect();
    let numbered: Vec<_> = (1..=count).zip(&json).collect();
    for some in numbered.chunks(100) {
        let envelopes = some
            .iter()
            .map(|(sequence, json)| envelope(*sequence, json))
            .collect();
        place.publish_batch(encoded(envelopes)).await;
    }
}

fn window() -> [String; 4] {
    let at = |us: i64| UtcMicros(us).to_string();
    let (since, until) = (time_us(0) - 60_000_000, time_us(100_000));
    ["--since".into(), at(since), "--until".into(), at(until)]
}

async fn audit(place: &Place) -> (i32, Value) {
    let window = window();
    let mut arguments = vec!["audit", "--json"];
    arguments.extend(window.iter().map(String::as_str));
    let ran = place.run(&arguments).await;
    let report =
        serde_json::from_str(&ran.text).unwrap_or_else(|_| panic!("{} {}", ran.text, ran.error));
    (ran.code, report)
}

async fn delete(place: &Place, sequence: u64) {
    let time_ns = time_us(sequence) * 1_000;
    let statement = format!("DELETE FROM home_assistant_events WHERE time = {time_ns}");
    place
        .services
        .query(&place.database, &statement)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_database_passes_and_one_deleted_point_is_named() {
    let place = Place::new().await;
    let _worker = place.start_worker();
    store(&place, 1_000).await;
    place.until_points(1_000).await;
    let (code, report) = audit(&place).await;
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["stored"], 1_000);

    delete(&place, 433).await;
    let (code, report) = audit(&place).await;
    assert_eq!(code, 1, "{report:#}");
    let gap = &report["epochs"][0]["gaps"][0];
    assert_eq!(gap["first"], 433);
    assert_eq!(gap["count"], 1);
    assert_eq!(gap["why"], "unexplained");
    assert_eq!(gap["before"]["sequence"], 432);
    assert_eq!(gap["after"]["time"], UtcMicros(time_us(434)).to_string());
    let window = window();
    let ran = place
        .run(&["audit", &window[0], &window[1], &window[2], &window[3]])
        .await;
    assert!(
        ran.text.contains("  433: UNEXPLAINED; behind 432 at"),
        "{}",
        ran.text
    );
    assert!(
        ran.text.contains("INCOMPLETE: 1 event missing"),
        "{}",
        ran.text
    );

    // The same event as a dead letter: explained.
    place.publish_dead_letters(vec![bad_dead_letter(433)]).await;
    let (code, report) = audit(&place).await;
    assert_eq!(
        (code, &report["dead_letters"]),
        (0, &Value::from(1)),
        "{report:#}"
    );
    assert_eq!(place.depth().await, 1, "the audit only looks");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_producer_counted_says_where_the_end_is() {
    let place = Place::new().await;
    let _worker = place.start_worker();
    store(&place, 200).await;
    place.until_points(200).await;
    let quality = |sequence_last: u64, lost: u64| {
        let time_ns = time_us(300) * 1_000;
        format!(
            "data_quality,instance=home epoch={RUN_ID}i,sequence_last={sequence_last}i,lost={lost}i {time_ns}"
        )
    };
    for (sequence_last, lost, expected, why) in [
        (200, 0, 0, None),
        (203, 0, 1, Some("unexplained")),
        (203, 3, 0, Some("lost")),
    ] {
        write(&place, &quality(sequence_last, lost)).await;
        let (code, report) = audit(&place).await;
        assert_eq!(code, expected, "{report:#}");
        let found = report
            .pointer("/epochs/0/gaps/0/why")
            .and_then(Value::as_str);
        assert_eq!(found, why, "{report:#}");
    }
}

async fn write(place: &Place, line: &str) {
    let url = format!(
        "{}/write?db={}",
        place.services.influxdb_url(),
        place.database
    );
    let answer = reqwest::Client::new()
        .post(url)
        .body(line.to_owned())
        .send()
        .await
        .unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_home_assistants_history_is_in_the_database() {
    const EVENTS: u64 = 400;
    let place = Place::new().await;
    let house = HouseOptions {
        entities: 120,
        ..HouseOptions::default()
    };
    let simulator = Simulator::start(SimulatorOptions {
        house,
        ..Default::default()
    })
    .await
    .unwrap();
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let url = simulator.url().parse().unwrap();
    let options = SourceOptions::new(url, simulator.token().into(), Arc::new(tls));
    let (source, mut received) = Source::new(options).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(source.run(stop.clone()));
    let (mut sequence, mut first) = (0, None);
    let receiving = async {
        while sequence < EVENTS {
            match received.recv().await.unwrap() {
                SourceEvent::Connected { .. } => simulator.fire(EVENTS),
                SourceEvent::Event(event) => {
                    sequence += 1;
                    let time = ha_event::peek(&event.json).unwrap().source_time;
                    first = first.min(time).or(time);
                    let json = std::str::from_utf8(&event.json).unwrap();
                    place
                        .publish_batch(encoded(vec![envelope(sequence, json)]))
                        .await;
                }
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), receiving)
        .await
        .unwrap();
    let _worker = place.start_worker();
    place.until_points(EVENTS).await;

    // The states that the house began with were never events.
    let first = first.unwrap().to_string();
    let compare = async || {
        let mut command = place.command(&["audit", "--since", &first, "--json"]);
        command.env("HOME_ASSISTANT_URL", simulator.url());
        command.env("HOME_ASSISTANT_TOKEN", simulator.token());
        let output = tokio::process::Command::from(command)
            .output()
            .await
            .unwrap();
        let ran = super::support::Ran::of(output);
        let report: Value =
            serde_json::from_str(&ran.text).unwrap_or_else(|_| panic!("{}", ran.error));
        (ran.code, report)
    };
    let (code, report) = compare().await;
    assert_eq!(report["history"]["missing"], 0, "{report:#}");
    assert_eq!(report["history"]["different"], 0, "{report:#}");
    assert_eq!(report["history"]["states"], EVENTS, "{report:#}");
    assert_eq!(code, 0, "{report:#}");

    let newest = "SELECT \"state\", \"sequence\" FROM home_assistant_events ORDER BY time DESC LIMIT 1 OFFSET 50";
    let answer = place.services.query(&place.database, newest).await.unwrap();
    let time = answer.pointer("/results/0/series/0/values/0/0").unwrap();
    let statement = format!("DELETE FROM home_assistant_events WHERE time = {time}");
    place
        .services
        .query(&place.database, &statement)
        .await
        .unwrap();
    let (code, report) = compare().await;
    assert_eq!(code, 1);
    assert_eq!(report["history"]["missing"], 1, "{report:#}");
    assert_eq!(report["unexplained"], 1, "{report:#}");
    stop.cancel();
    running.await.unwrap();
}
