//! What is not taken: each kind with its status, and nothing stored.

use crate::support::{
    Server, TOKEN, batch, event, head, http, invalid_event, limits, options, post, raw, server,
    server_at, server_with, status_of,
};
use axum::Router;
use axum::http::StatusCode;
use ha_http::{BindError, Intake, Limits};
use ha_sink::{Api, InfluxDb, InfluxDbOptions, Sink};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const NO_PAUSE: Duration = Duration::ZERO;

#[tokio::test]
async fn an_address_for_others_needs_a_token() {
    let mut open = options(([0, 0, 0, 0], 0), limits());
    open.token = None;
    let refused = Intake::bind(open.clone()).await.unwrap_err();
    assert!(matches!(refused, BindError::TokenRequired(_)));
    assert!(refused.to_string().contains("INTAKE_TOKEN"), "{refused}");
    open.address = ([127, 0, 0, 1], 0).into();
    Intake::bind(open).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_and_words() {
    let (server, http) = (server().await, http());
    let send =
        async |token: Option<&str>, kind: Option<&str>, encoding: Option<&str>, body: Vec<u8>| {
            let mut request = http.post(server.url()).body(body);
            for (name, value) in [("content-type", kind), ("content-encoding", encoding)] {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.unwrap();
            let challenge = response.headers().contains_key("www-authenticate");
            (
                response.status().as_u16(),
                challenge,
                response.text().await.unwrap(),
            )
        };
    let (token, json) = (Some(TOKEN), Some("application/json"));
    let good = event(1).into_bytes();
    let cut = batch(&[event(1)])[..40].to_vec();
    let kind = Some(ha_batch::CONTENT_TYPE);
    let large = format!("{{\"event_type\":\"{}\"}}", "x".repeat(300 << 10)).into_bytes();
    for (token, kind, encoding, body, status, words) in [
        (None, json, None, good.clone(), 401, "Authorization: Bearer"),
        (Some("wrong"), json, None, good.clone(), 401, "INTAKE_TOKEN"),
        (token, None, None, good.clone(), 415, "application/json"),
        (
            token,
            Some("text/plain"),
            None,
            good.clone(),
            415,
            "text/plain",
        ),
        (token, json, Some("br"), good.clone(), 415, "gzip"),
        (token, json, Some("gzip"), good.clone(), 400, "gzip"),
        (token, json, Some("zstd"), good.clone(), 400, "zstd"),
        (token, json, None, good[..100].to_vec(), 400, "EOF"),
        (token, json, None, b"hello".to_vec(), 400, "neither"),
        (
            token,
            json,
            None,
            b"[1,2]".to_vec(),
            400,
            "not a Home Assistant event",
        ),
        (token, json, None, large, 413, "EVENT_BYTES_MAX"),
        (
            token,
            json,
            None,
            format!("[{}0]", "0,".repeat(20_000)).into_bytes(),
            413,
            "20000",
        ),
        (token, kind, None, cut, 400, "not a batch"),
        (token, kind, None, good.clone(), 400, "not a batch"),
    ] {
        let (got, challenge, answer) = send(token, kind, encoding, body).await;
        assert_eq!(got, status, "{words}: {answer}");
        assert!(answer.contains(words), "{words}: {answer}");
        assert_eq!(challenge, status == 401);
    }
    assert_eq!(http.get(server.url()).send().await.unwrap().status(), 405);
    assert_eq!(
        http.get(server.url().replace("events", ""))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    let bad_name = format!("{}?instance=a%0Ab", server.url());
    assert_eq!(post(&http, &bad_name, event(1)).await.0, 400);
    assert_eq!(server.points(), 0);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_refused_before_they_are_read() {
    let server = server().await;
    // Only announced: one that waited for it would answer 408.
    let announced = head("Content-Length: 50000000", "Expect: 100-continue\r\n");
    let answer = raw(server.address, &[announced.as_bytes()], NO_PAUSE).await;
    assert_eq!(status_of(&answer), 413, "{answer}");
    // Sent at full speed by a sender that reads its answer at the end.
    let body = vec![b' '; 50_000_000];
    let begun = head("Content-Length: 50000000", "");
    let answer = raw(server.address, &[begun.as_bytes(), &body], NO_PAUSE).await;
    assert_eq!(status_of(&answer), 413, "{answer}");
    // In chunks, without saying how many.
    let begun = head("Transfer-Encoding: chunked", "");
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"]
        .concat()
        .repeat(160);
    let answer = raw(
        server.address,
        &[begun.as_bytes(), &chunk, b"0\r\n\r\n"],
        NO_PAUSE,
    )
    .await;
    assert_eq!(status_of(&answer), 413, "{answer}");
    // Small on the wire, 100 MB decompressed.
    let spaces = vec![b' '; 100 << 20];
    let gzip = {
        use std::io::Write as _;
        let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        compressed.write_all(&spaces).unwrap();
        compressed.finish().unwrap()
    };
    let zstd = zstd::stream::encode_all(spaces.as_slice(), 1).unwrap();
    // Spaces that were compressed with a window of 16 MiB.
    let wide = {
        use std::io::Write as _;
        let mut compressed = zstd::Encoder::new(Vec::new(), 1).unwrap();
        compressed.window_log(24).unwrap();
        compressed.write_all(&spaces).unwrap();
        compressed.finish().unwrap()
    };
    for (encoding, bomb, status) in [
        ("gzip", gzip, 413),
        ("zstd", zstd, 413),
        ("zstd", wide, 400),
    ] {
        let begun = head(
            &format!("Content-Length: {}", bomb.len()),
            &format!("Content-Encoding: {encoding}\r\n"),
        );
        let answer = raw(server.address, &[begun.as_bytes(), &bomb], NO_PAUSE).await;
        assert_eq!(status_of(&answer), status, "{answer}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_truncated_bodies_end() {
    let limits = Limits {
        header_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(400),
        ..limits()
    };
    let server = server_at(IpAddr::from([127, 0, 0, 1]), 0, limits).await;
    let begun = head("Content-Length: 1000", "");
    let answer = raw(
        server.address,
        &[begun.as_bytes(), b"{", b"\"a\""],
        Duration::from_millis(250),
    )
    .await;
    assert_eq!(status_of(&answer), 408, "{answer}");
    // A head that never ends is cut off without an answer.
    let answer = raw(
        server.address,
        &[b"POST /v1/events HTTP/1.1\r\nHost:"],
        NO_PAUSE,
    )
    .await;
    assert!(answer.is_empty() || status_of(&answer) == 408, "{answer}");
    assert_eq!(server.points(), 0);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_intake_says_when_to_come_back() {
    let limits = Limits {
        requests_max: 1,
        body_timeout: Duration::from_secs(20),
        held_bytes_max: 10_000,
        ..limits()
    };
    let (server, http) = (
        server_at(IpAddr::from([127, 0, 0, 1]), 0, limits).await,
        http(),
    );
    let array = format!("[{}]", (0..50).map(event).collect::<Vec<_>>().join(","));
    assert_eq!(
        post(&http, &server.url(), array).await.0,
        429,
        "more bytes than may be held"
    );
    assert_eq!(post(&http, &server.url(), event(1)).await.0, 200);
    // One request takes the only place and does not end. Those that come while it is still taken by
    // the one before are refused.
    let mut slow = Vec::new();
    let begun = head("Content-Length: 1000", "");
    until(async || {
        let mut stream = tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap();
        let begun = begun.as_bytes();
        tokio::io::AsyncWriteExt::write_all(&mut stream, begun)
            .await
            .unwrap();
        slow.push(stream);
        let refused = async || post(&http, &server.url(), event(2)).await.0 == 429;
        refused().await && {
            // Not only until the one before was done.
            tokio::time::sleep(Duration::from_millis(50)).await;
            refused().await
        }
    })
    .await;
    let request = http.post(server.url()).bearer_auth(TOKEN).body(event(2));
    let response = request
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    drop(slow);
    until(async || post(&http, &server.url(), event(2)).await.0 == 200).await;
    server.end().await;
}

/// So long that what is answered within half of it was not waited for, on a busy machine too.
const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// An InfluxDB that can be told to be away.
async fn with_a_database_that_goes_away() -> (Server, Arc<AtomicBool>) {
    let away = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&away);
    let router = Router::new().fallback(move || async move {
        match told.load(Ordering::SeqCst) {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::NO_CONTENT,
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    crate::support::install_tls_provider();
    let sink = Sink::InfluxDb(InfluxDb::new(InfluxDbOptions::new(&url, Api::V1, "x")).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        store_timeout: STORE_TIMEOUT,
        ..limits()
    };
    let path = folder.path().to_owned();
    (
        server_with(sink, ([127, 0, 0, 1], 0).into(), limits, folder, path).await,
        away,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_answer_is_503_and_afterwards_not() {
    let (server, away) = with_a_database_that_goes_away().await;
    let http = http();
    for number in 0..20 {
        let began = Instant::now();
        let request = http
            .post(server.url())
            .bearer_auth(TOKEN)
            .body(event(number));
        let response = request
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "5");
        assert!(response.text().await.unwrap().contains("database"));
        // The first is inside and finds out when the database is back; the others are not let in.
        assert!(
            began.elapsed() < STORE_TIMEOUT / 2,
            "at once, not after a timeout"
        );
    }
    away.store(false, Ordering::SeqCst);
    until(async || post(&http, &server.url(), event(1)).await.0 == 200).await;
    assert_eq!(post(&http, &server.url(), invalid_event()).await.0, 207);
    assert_eq!(server.dead_letters.all().len(), 1);
    server.end().await;
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !holds().await {
        assert!(Instant::now() < deadline, "it did not come to hold in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
