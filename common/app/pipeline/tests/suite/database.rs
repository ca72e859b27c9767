//! With a server that answers as InfluxDB does on a bad day.

use crate::support::{Running, batch, options, state_changed};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use ha_pipeline::{Outcome, PipelineOptions, Reason, SinkState};
use ha_sink::{Api, InfluxDb, InfluxDbOptions, Sink};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// What the server stored, a line each.
type Stored = Arc<Mutex<BTreeSet<String>>>;

/// A server whose n-th answer (from 0) is what the function says of the body's lines: their text,
/// or the answer after which nothing is stored.
async fn server<F>(answer: F) -> (Sink, Stored)
where
    F: Fn(usize, &[String]) -> Option<(StatusCode, String)> + Clone + Send + Sync + 'static,
{
    let stored = Stored::default();
    let (log, count) = (Arc::clone(&stored), Arc::new(Mutex::new(0)));
    let handler = move |body: Bytes| {
        let lines: Vec<String> = std::str::from_utf8(&body)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        let mut count = count.lock().unwrap();
        let answered = answer(*count, &lines);
        *count += 1;
        if answered.is_none() {
            log.lock().unwrap().extend(lines);
        }
        let answered = answered.unwrap_or((StatusCode::NO_CONTENT, String::new()));
        async move { answered }
    };
    (serve(Router::new().fallback(handler)).await, stored)
}

/// A sink that writes to this server.
async fn serve(app: Router) -> Sink {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let options = InfluxDbOptions {
        token: Some("sekret".into()),
        org: Some("o".into()),
        gzip_bytes_min: usize::MAX,
        timeout: Duration::from_secs(5),
        ..InfluxDbOptions::new(url, Api::V2, "b")
    };
    Sink::InfluxDb(InfluxDb::new(options).unwrap())
}

fn events(count: u32) -> Vec<String> {
    (0..count)
        .map(|n| state_changed(&format!("sensor.s{n}"), "1", n))
        .collect()
}

#[tokio::test]
async fn a_database_that_is_away_for_a_while_loses_nothing() {
    let away = (
        StatusCode::SERVICE_UNAVAILABLE,
        r#"{"code":"unavailable","message":"busy"}"#,
    );
    let (sink, stored) = server(move |n, _| (n < 2).then(|| (away.0, away.1.to_owned()))).await;
    let mut running = Running::start(
        sink,
        PipelineOptions {
            writes_in_flight_max: 1,
            ..options()
        },
    );
    running.send(1, batch(&events(10))).await;
    let state = running
        .wait_for_state(|state| *state != SinkState::Available)
        .await;
    assert!(
        matches!(&state, SinkState::Unavailable(reason) if reason.contains("busy")),
        "{state:?}"
    );
    assert_eq!(running.outcome().await, Outcome::Settled(1));
    running
        .wait_for_state(|state| *state == SinkState::Available)
        .await;
    let (rest, dead_letters) = running.finish().await;
    assert!(
        rest.is_empty() && dead_letters.is_empty(),
        "{rest:?} {dead_letters:?}"
    );
    assert_eq!(stored.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn a_line_that_the_database_refuses_is_a_dead_letter_and_the_others_are_stored() {
    let refused = |lines: &[String]| lines.iter().any(|line| line.contains("sensor.s3,"));
    let (sink, stored) = server(move |_, lines| {
        let words =
            r#"{"code":"invalid","message":"partial write: field type conflict dropped=1"}"#;
        refused(lines).then(|| (StatusCode::BAD_REQUEST, words.to_owned()))
    })
    .await;
    let mut running = Running::start(sink, options());
    // Compressed, as batches of many events come from the broker; the dead letter is not.
    let compressed = ha_batch::compress(&batch(&events(20))).unwrap();
    running.send(1, compressed).await;
    running
        .send(2, batch(&[state_changed("light.l", "on", 50)]))
        .await;
    let both = [running.outcome().await, running.outcome().await];
    assert!(
        both.contains(&Outcome::Settled(1)) && both.contains(&Outcome::Settled(2)),
        "{both:?}"
    );
    assert_eq!(*running.state.borrow(), SinkState::Available);
    running
        .send(3, ha_batch::compress(b"rubbish").unwrap())
        .await;
    assert_eq!(running.outcome().await, Outcome::Settled(3));
    let (_, dead_letters) = running.finish().await;
    assert_eq!(dead_letters.len(), 2, "{dead_letters:?}");
    assert_eq!(dead_letters[1].reason, Reason::Undecodable);
    assert_eq!(dead_letters[1].payload, b"rubbish".as_slice());
    let dead_letter = &dead_letters[0];
    assert_eq!(
        (dead_letter.reason, dead_letter.stage),
        (Reason::SinkRejected, "sink")
    );
    assert_eq!(dead_letter.domain, "sensor");
    assert!(
        dead_letter.error.contains("field type conflict"),
        "{}",
        dead_letter.error
    );
    let of = ha_batch::decode(&dead_letter.payload).unwrap();
    assert_eq!(of.envelopes[0].json, events(4)[3].as_bytes());
    assert_eq!(stored.lock().unwrap().len(), 20, "19 and the light");
}

#[tokio::test]
async fn a_database_that_hangs_is_given_up_and_tried_again() {
    // Accepts and never answers, until it is replaced by one that does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let options_of_sink = InfluxDbOptions {
        token: Some("sekret".into()),
        timeout: Duration::from_millis(300),
        ..InfluxDbOptions::new(format!("http://{address}"), Api::V2, "b")
    };
    let sink = Sink::InfluxDb(InfluxDb::new(options_of_sink).unwrap());
    let mut running = Running::start(sink, options());
    running.send(1, batch(&events(10))).await;
    let state = running
        .wait_for_state(|state| *state != SinkState::Available)
        .await;
    assert!(
        matches!(&state, SinkState::Unavailable(reason) if reason.contains("INFLUXDB_URL")),
        "{state:?}"
    );

    let app = Router::new().fallback(|| async { StatusCode::NO_CONTENT });
    let serving = tokio::spawn(async move { axum::serve(silent, app).await });
    assert_eq!(running.outcome().await, Outcome::Settled(1));
    let (_, dead_letters) = running.finish().await;
    assert!(dead_letters.is_empty());
    serving.abort();
}

#[tokio::test]
async fn while_a_write_is_under_way_the_next_batch_fills() {
    let (arrived, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, first_may) = (Arc::clone(&arrived), Arc::clone(&go_on));
    let app = Router::new().fallback(move || {
        let (is_first, may) = (count.fetch_add(1, Relaxed) == 0, Arc::clone(&first_may));
        async move {
            if is_first {
                may.notified().await;
            }
            StatusCode::NO_CONTENT
        }
    });
    let limits = PipelineOptions {
        batch_age_max: Duration::from_secs(1),
        ..options()
    };
    let mut running = Running::start(serve(app).await, limits);
    running.send(1, batch(&events(10))).await;
    while arrived.load(Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.send(2, batch(&events(10))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(arrived.load(Relaxed), 1, "the second is twice its age");
    go_on.notify_one();
    let settled = [running.outcome().await, running.outcome().await];
    assert_eq!(settled, [Outcome::Settled(1), Outcome::Settled(2)]);
    assert_eq!(arrived.load(Relaxed), 2);
    running.finish().await;
}

#[tokio::test]
async fn a_refusal_names_the_setting_and_drops_nothing() {
    let (sink, stored) = server(|_, _| {
        let words = r#"{"code":"unauthorized","message":"unauthorized access"}"#;
        Some((StatusCode::UNAUTHORIZED, words.to_owned()))
    })
    .await;
    let mut running = Running::start(sink, options());
    running.send(1, batch(&events(10))).await;
    let state = running
        .wait_for_state(|state| *state != SinkState::Available)
        .await;
    let SinkState::Refused(reason) = state else {
        panic!("{state:?}")
    };
    assert!(
        reason.contains("INFLUXDB_TOKEN") && !reason.contains("sekret"),
        "{reason}"
    );
    assert!(running.dead_letters.all().is_empty());
    assert!(stored.lock().unwrap().is_empty());
}

#[tokio::test]
async fn no_more_is_taken_than_the_limits_allow_while_the_database_hangs() {
    let (sink, stored) =
        server(|n, _| (n < 4).then(|| (StatusCode::SERVICE_UNAVAILABLE, "{}".to_owned()))).await;
    let limits = PipelineOptions {
        batch_points_max: 10,
        writes_in_flight_max: 2,
        ..options()
    };
    let mut running = Running::start(sink, limits);
    for ack_handle in 0..50 {
        let n = u32::try_from(ack_handle).unwrap() * 10;
        let events: Vec<_> = (n..n + 10)
            .map(|n| state_changed("sensor.s", "1", n))
            .collect();
        running.send(ack_handle, batch(&events)).await;
    }
    let mut ack_handles = BTreeSet::new();
    while ack_handles.len() < 50 {
        let Outcome::Settled(ack_handle) = running.outcome().await else {
            panic!()
        };
        assert!(ack_handles.insert(ack_handle), "{ack_handle} twice");
    }
    running.finish().await;
    assert_eq!(stored.lock().unwrap().len(), 500);
}

#[tokio::test]
async fn what_follows_a_write_gathers_until_the_next_may_begin() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let sink = serve(Router::new().fallback(move |body: Bytes| {
        let lines = body.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty()).count();
        log.lock().unwrap().push(lines);
        async { StatusCode::NO_CONTENT }
    }))
    .await;
    let options = PipelineOptions {
        // Longer than it takes to send three batches, also here and now.
        batch_age_max: Duration::from_secs(2),
        writes_in_flight_max: 4,
        ..options()
    };
    let mut running = Running::start(sink, options);
    let one = |n: u32| batch(&[state_changed("sensor.s", "1", n)]);
    running.send(0, one(0)).await;
    assert_eq!(running.outcome().await, Outcome::Settled(0));
    for n in 1..4 {
        running.send(n.into(), one(n)).await;
    }
    for _ in 1..4 {
        running.outcome().await;
    }
    assert_eq!(*seen.lock().unwrap(), [1, 3]);
    running.finish().await;
}
