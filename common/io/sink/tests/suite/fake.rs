//! Every kind of answer, from a server that gives it on purpose.

use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{buffer, indices, lines, rejected, written};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;
use ha_point::Format;
use ha_sink::{Api, InfluxDb, InfluxDbOptions, Sink, WriteOutcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A request as the server saw it, its body decompressed.
#[derive(Debug, Clone)]
pub struct Seen {
    uri: Uri,
    headers: HeaderMap,
    pub body: String,
}

/// A server that answers what the function says, and remembers.
pub struct Fake {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    pub async fn start<R: IntoResponse>(
        answer: impl Fn(&Seen) -> R + Clone + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        let handler = move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let is_compressed = headers
                .get("content-encoding")
                .is_some_and(|value| value == "gzip");
            let mut text = String::new();
            if is_compressed {
                GzDecoder::new(body.as_ref())
                    .read_to_string(&mut text)
                    .unwrap();
            } else {
                text = String::from_utf8(body.to_vec()).unwrap();
            }
            let request = Seen {
                uri,
                headers,
                body: text,
            };
            let response: Response = answer(&request).into_response();
            log.lock().unwrap().push(request);
            response
        };
        let app = Router::new()
            .fallback(handler)
            .layer(axum::extract::DefaultBodyLimit::disable());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

pub fn options(url: &str, api: Api) -> InfluxDbOptions {
    InfluxDbOptions {
        token: Some("sekret".into()),
        org: Some("test".into()),
        ..InfluxDbOptions::new(url, api, "home")
    }
}

pub fn sink(options: InfluxDbOptions) -> Sink {
    crate::support::install_tls_provider();
    Sink::InfluxDb(InfluxDb::new(options).unwrap())
}

pub fn v2(url: &str) -> Sink {
    sink(options(url, Api::V2))
}

async fn write(sink: &Sink) -> WriteOutcome {
    sink.write(&buffer(Format::LineProtocol, 3, &[])).await
}

#[tokio::test]
async fn the_request_is_the_documented_one() {
    let fake = Fake::start(|_| StatusCode::NO_CONTENT).await;
    let small = buffer(Format::LineProtocol, 3, &[]);
    let large = buffer(Format::LineProtocol, 5000, &[]);
    let v2 = v2(&format!("{}/behind/", fake.url));
    written(&v2, &small).await;
    written(&v2, &large).await;
    let mut basic = options(&fake.url, Api::V1);
    basic.username = Some("u".into());
    basic.password = Some("p".into());
    basic.gzip_bytes_min = usize::MAX;
    written(&sink(basic), &large).await;
    let mut open = options(&fake.url, Api::V1);
    open.token = None;
    written(&sink(open), &small).await;

    let seen = fake.seen();
    assert_eq!(
        seen[0].uri,
        "/behind/api/v2/write?org=test&bucket=home&precision=ns"
    );
    assert_eq!(seen[0].headers["authorization"], "Token sekret");
    assert!(!seen[0].headers.contains_key("content-encoding"));
    assert_eq!(seen[0].body.as_bytes(), lines(&small).bytes().as_slice());
    assert_eq!(seen[1].headers["content-encoding"], "gzip");
    assert_eq!(seen[1].body.as_bytes(), lines(&large).bytes().as_slice());
    assert_eq!(seen[2].uri, "/write?db=home&precision=n");
    assert_eq!(seen[2].headers["authorization"], "Basic dTpw");
    assert!(!seen[2].headers.contains_key("content-encoding"));
    assert!(!seen[3].headers.contains_key("authorization"));
}

#[tokio::test]
async fn every_status_has_its_outcome() {
    let unavailable = |wait| ("unavailable", wait, "");
    let refused = |words| ("refused", None, words);
    for (status, header, body, (kind, wait, words)) in [
        (200, "", "", ("written", None, "")),
        (204, "", "", ("written", None, "")),
        (200, "", "<html>welcome</html>", refused("INFLUXDB_URL")),
        (301, "", "", refused("INFLUXDB_URL")),
        (
            401,
            "",
            r#"{"code":"unauthorized","message":"unauthorized access"}"#,
            refused("INFLUXDB_TOKEN"),
        ),
        (
            403,
            "",
            r#"{"message":"forbidden"}"#,
            refused("INFLUXDB_TOKEN"),
        ),
        (
            404,
            "",
            r#"{"message":"bucket \"home\" not found"}"#,
            refused("INFLUXDB_BUCKET"),
        ),
        (
            404,
            "",
            r#"{"message":"organization name \"test\" not found"}"#,
            refused("INFLUXDB_ORG"),
        ),
        (404, "", "404 page not found", refused("INFLUXDB_API=v1")),
        (408, "", "", unavailable(None)),
        (429, "3", "", unavailable(Some(3))),
        (429, "86400", "", unavailable(Some(600))),
        (
            500,
            "",
            r#"{"error":"engine: cache-max-memory-size exceeded"}"#,
            unavailable(None),
        ),
        (
            503,
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "",
            unavailable(Some(0)),
        ),
        (503, "120", "", unavailable(Some(120))),
        (504, "", "", unavailable(None)),
    ] {
        let fake = Fake::start(move |_| {
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            if !header.is_empty() {
                response
                    .headers_mut()
                    .insert("retry-after", header.parse().unwrap());
            }
            response
        })
        .await;
        let (got, retry_after, reason) = match write(&v2(&fake.url)).await {
            WriteOutcome::Written => ("written", None, String::new()),
            WriteOutcome::Rejected(points) => ("rejected", None, points[0].error.clone()),
            WriteOutcome::Unavailable {
                reason,
                retry_after,
            } => ("unavailable", retry_after, reason),
            WriteOutcome::Refused { reason } => ("refused", None, reason),
        };
        assert_eq!(got, kind, "{status} {body}: {reason}");
        assert_eq!(
            retry_after,
            wait.map(Duration::from_secs),
            "{status} {header}"
        );
        assert!(
            reason.contains(words) && !reason.contains("sekret"),
            "{status}: {reason}"
        );
        assert_eq!(fake.requests(), 1, "{status} {body}");
    }
}

#[tokio::test]
async fn nothing_that_answers_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let WriteOutcome::Unavailable {
        reason,
        retry_after: None,
    } = write(&v2(&url)).await
    else {
        panic!("a closed port was written to")
    };
    assert!(
        reason.contains("cannot connect to INFLUXDB_URL") && reason.contains("refused"),
        "{reason}"
    );
    let error = v2(&url).probe().await.unwrap_err();
    assert!(
        error.transient && error.to_string().contains("INFLUXDB_URL"),
        "{error}"
    );
}

#[tokio::test]
async fn the_given_tls_configuration_is_used() {
    crate::support::install_tls_provider();
    let url = raw(Some("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let roots = rustls::RootCertStore::empty();
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut options = options(&url.replace("http://", "https://"), Api::V2);
    options.tls = Some(Arc::new(tls));
    let outcome = write(&sink(options)).await;
    let WriteOutcome::Unavailable { reason, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        reason.contains("cannot connect") && reason.contains("corrupt message"),
        "{reason}"
    );
}

/// Serves every connection the given bytes, then closes it.
async fn raw(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                // One read; what is not read turns the close into a reset.
                let _ = stream.read(&mut buffer).await;
                match answer {
                    Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                    None => std::future::pending().await,
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn an_answer_that_does_not_come_whole_is_unavailable() {
    for (answer, words) in [
        (None, "no answer in time"),
        (Some(""), "no complete answer"),
        (Some("HTTP/1.1 204 No Con"), "no complete answer"),
        (
            Some("HTTP/1.1 400 Bad Request\r\ncontent-length: 500\r\n\r\n{\"error\":"),
            "no complete answer",
        ),
        (
            Some("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"res"),
            "no complete answer",
        ),
        (Some("SSH-2.0-OpenSSH_9.2\r\n"), "no complete answer"),
    ] {
        let url = raw(answer).await;
        let mut options = options(&url, Api::V2);
        options.timeout = Duration::from_millis(if answer.is_none() { 100 } else { 10_000 });
        options.gzip_bytes_min = usize::MAX;
        let outcome = sink(options)
            .write(&buffer(Format::LineProtocol, 2000, &[]))
            .await;
        let WriteOutcome::Unavailable { reason, .. } = outcome else {
            panic!("{answer:?}: {outcome:?}")
        };
        assert!(reason.contains(words), "{answer:?}: {reason}");
    }
}

/// What 1.x says to a batch with text where there are numbers.
fn type_conflict(body: &str) -> Response {
    let dropped = body
        .lines()
        .filter(|line| line.contains("value=\""))
        .count();
    if dropped == 0 {
        return StatusCode::NO_CONTENT.into_response();
    }
    let message = format!(
        "{{\"error\":\"partial write: field type conflict: input field \\\"value\\\" on measurement \
         \\\"m\\\" is type string, already exists as type float dropped={dropped}\"}}"
    );
    (StatusCode::BAD_REQUEST, message).into_response()
}

#[tokio::test]
async fn bad_lines_are_isolated_in_few_requests() {
    let fake = Fake::start(|seen| type_conflict(&seen.body)).await;
    let points = rejected(
        v2(&fake.url)
            .write(&buffer(Format::LineProtocol, 1000, &[0, 500, 999]))
            .await,
    );
    assert_eq!(indices(&points), [0, 500, 999]);
    assert!(
        points[1].error.contains("field type conflict"),
        "{points:?}"
    );
    // All, the good ones, and the three together: the database counts every one of those.
    assert_eq!(fake.requests(), 3);
}

#[tokio::test]
async fn an_outage_in_the_middle_leaves_everything_open() {
    for (status, kind) in [(503, "Unavailable"), (401, "Refused")] {
        let count = Arc::new(Mutex::new(0));
        let fake = Fake::start(move |seen| {
            let mut count = count.lock().unwrap();
            *count += 1;
            if *count < 3 {
                type_conflict(&seen.body)
            } else {
                StatusCode::from_u16(status).unwrap().into_response()
            }
        })
        .await;
        let outcome = v2(&fake.url)
            .write(&buffer(Format::LineProtocol, 100, &[1, 50]))
            .await;
        assert!(format!("{outcome:?}").starts_with(kind), "{outcome:?}");
        assert_eq!(fake.requests(), 3);
    }
}

#[tokio::test]
async fn too_large_is_halved_and_a_line_too_large_is_rejected() {
    let fake = Fake::start(|seen| {
        if seen.body.len() > 3000 {
            StatusCode::PAYLOAD_TOO_LARGE
        } else {
            StatusCode::NO_CONTENT
        }
    })
    .await;
    let sink = v2(&fake.url);
    let mut points = buffer(Format::LineProtocol, 200, &[]);
    crate::support::text_point(&mut points, "m", "t", &"x".repeat(4000), 1);
    let large = rejected(sink.write(&points).await);
    assert_eq!(indices(&large), [200]);
    assert!(large[0].error.contains("too large"), "{large:?}");
    let stored: usize = fake
        .seen()
        .iter()
        .filter(|seen| seen.body.len() <= 3000)
        .map(|seen| seen.body.lines().count())
        .sum();
    assert_eq!(stored, 200, "every line once");
}

#[tokio::test]
async fn a_request_that_is_bad_as_such_blames_no_line() {
    for body in [
        r#"{"code":"invalid","message":"bucket is required"}"#,
        "<h1>400 Bad Request</h1>",
    ] {
        let fake = Fake::start(move |_| (StatusCode::BAD_REQUEST, body)).await;
        let outcome = write(&v2(&fake.url)).await;
        assert!(
            matches!(&outcome, WriteOutcome::Refused { reason } if reason.contains("INFLUXDB_BUCKET")),
            "{outcome:?}"
        );
        assert_eq!(fake.requests(), 2);
    }
}

#[tokio::test]
async fn an_error_under_200_and_beyond_retention_are_rejections() {
    let fake = Fake::start(|seen| {
        if seen.body == "#\n" {
            return StatusCode::NO_CONTENT.into_response();
        }
        (StatusCode::OK, "{\"error\":\"strange value\"}").into_response()
    })
    .await;
    let points = rejected(write(&v2(&fake.url)).await);
    assert_eq!(points.len(), 3);
    assert_eq!(points[0].error, "strange value");

    let fake = Fake::start(|seen| {
        let old = seen.body.lines().filter(|line| line.ends_with("00000000")).count();
        let body = format!(
            "{{\"code\":\"unprocessable entity\",\"message\":\"failure writing points to database: partial \
             write: dropped {old} points outside retention policy of duration 1h0m0s\"}}"
        );
        if old == 0 { StatusCode::NO_CONTENT.into_response() } else { (StatusCode::UNPROCESSABLE_ENTITY, body).into_response() }
    })
    .await;
    let points = rejected(
        v2(&fake.url)
            .write(&buffer(Format::LineProtocol, 500, &[]))
            .await,
    );
    assert_eq!(indices(&points), [0]);
    assert!(points[0].error.contains("beyond retention"), "{points:?}");
    assert_eq!(fake.requests(), 3);
}

#[tokio::test]
async fn nothing_to_write_and_the_wrong_encoding_ask_nobody() {
    let fake = Fake::start(|_| StatusCode::IM_A_TEAPOT).await;
    let sink = v2(&fake.url);
    written(&sink, &buffer(Format::LineProtocol, 0, &[])).await;
    assert!(matches!(
        sink.write(&buffer(Format::Rows, 1, &[])).await,
        WriteOutcome::Refused { .. }
    ));
    assert_eq!(fake.requests(), 0);
    let null = Sink::Null(ha_sink::Null::default());
    written(&null, &buffer(null.format(), 7, &[])).await;
    let Sink::Null(null) = &null else { panic!() };
    assert_eq!(null.points(), 7);
}

/// InfluxDB 2.x as its documentation describes it; there is no real one to test with.
fn documented_v2(seen: &Seen) -> Response {
    let query = seen.uri.query().unwrap_or_default();
    let authorized = seen
        .headers
        .get("authorization")
        .is_some_and(|value| value == "Token sekret");
    let (status, body) = match seen.uri.path().trim_start_matches("/behind") {
        "/health" => (
            200,
            r#"{"name":"influxdb","message":"ready for queries and writes","status":"pass","checks":[],"version":"v2.7.4","commit":"19e5c0e1b7"}"#,
        ),
        _ if !authorized => (
            401,
            r#"{"code":"unauthorized","message":"unauthorized access"}"#,
        ),
        "/api/v2/write" if query.contains("bucket=home&") => (204, ""),
        "/api/v2/write" => (
            404,
            r#"{"code":"not found","message":"bucket \"other\" not found"}"#,
        ),
        "/api/v2/buckets" if seen.body.contains("orgID") => (
            201,
            r#"{"id":"1","orgID":"0a","type":"user","name":"other","retentionRules":[],"createdAt":"2026-11-21T00:00:00Z"}"#,
        ),
        "/api/v2/buckets" if query.contains("name=other") => {
            (200, r#"{"links":{"self":"/api/v2/buckets"},"buckets":[]}"#)
        }
        "/api/v2/buckets" => (
            200,
            r#"{"links":{"self":"/api/v2/buckets"},"buckets":[{"id":"1","orgID":"0a","type":"user","name":"home","retentionRules":[{"type":"expire","everySeconds":86400,"shardGroupDurationSeconds":3600}],"createdAt":"2026-11-21T00:00:00Z","updatedAt":"2026-11-21T00:00:00Z","links":{"self":"/api/v2/buckets/1"},"labels":[]}]}"#,
        ),
        "/api/v2/orgs" => (
            200,
            r#"{"links":{"self":"/api/v2/orgs"},"orgs":[{"id":"0a","name":"test","description":"","status":"active"}]}"#,
        ),
        _ => (404, r#"{"code":"not found","message":"path not found"}"#),
    };
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    response
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    response
}

/// Once by the `influxdb2` crate, once by our own client (the crate would drop the path).
#[tokio::test]
async fn the_probe_of_a_v2_says_what_is_there_and_what_is_missing() {
    for prefix in ["", "/behind"] {
        let fake = Fake::start(documented_v2).await;
        let url = format!("{}{prefix}", fake.url);
        let report = v2(&url).probe().await.unwrap();
        assert_eq!(report.version.as_deref(), Some("v2.7.4"));
        assert!(
            report
                .steps
                .iter()
                .any(|step| step.contains("keeps points for 24 h")),
            "{report:?}"
        );
        assert!(
            fake.seen()
                .iter()
                .all(|seen| seen.body.is_empty() || seen.body == "#\n")
        );

        let mut wrong = options(&url, Api::V2);
        wrong.bucket = "other".into();
        let influxdb = InfluxDb::new(wrong.clone()).unwrap();
        let error = influxdb.probe().await.unwrap_err();
        assert!(
            !error.transient && error.remedy.contains("INFLUXDB_BUCKET"),
            "{error}"
        );
        assert!(error.remedy.contains("visible buckets: home"), "{error}");
        influxdb.create_bucket().await.unwrap();
        let created = fake
            .seen()
            .into_iter()
            .rfind(|seen| seen.body.contains("orgID"))
            .unwrap();
        assert!(
            created.body.contains(r#""orgID":"0a","name":"other""#),
            "{created:?}"
        );

        wrong.token = Some("stale".into());
        let error = InfluxDb::new(wrong).unwrap().probe().await.unwrap_err();
        assert!(
            !error.transient && error.remedy.contains("INFLUXDB_TOKEN"),
            "{error}"
        );
        assert!(!error.to_string().contains("stale"), "{error}");
    }
}

#[tokio::test]
async fn the_probe_knows_what_is_no_influxdb() {
    let unwell = Fake::start(|_| {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [("content-type", "application/json")],
            r#"{"name":"influxdb","message":"boltdb is not open","status":"fail"}"#,
        )
    })
    .await;
    for prefix in ["", "/behind"] {
        let error = v2(&format!("{}{prefix}", unwell.url))
            .probe()
            .await
            .unwrap_err();
        assert!(
            error.transient && error.reason.contains("boltdb is not open"),
            "{error}"
        );
    }
    let page = Fake::start(|_| "<html>hello</html>").await;
    for api in [Api::V1, Api::V2] {
        let error = sink(options(&page.url, api)).probe().await.unwrap_err();
        assert!(
            !error.transient && error.remedy.contains("INFLUXDB_URL"),
            "{error}"
        );
    }
}
