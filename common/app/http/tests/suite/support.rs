//! An intake with a database of its own, and senders of all manners.

use ha_batch::{Batch, Envelope, Origin};
use ha_enrich::Options;
use ha_http::{BearerToken, Intake, IntakeOptions, Limits};
use ha_pipeline::{DeadLetter, DeadLetterStore, LatencyRecorder, Pipeline, PipelineOptions};
use ha_sink::{Sink, Sqlite, SqliteOptions};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const TOKEN: &str = "a-token-of-the-tests";

/// Dead letters, in the order in which they were made safe.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Vec<DeadLetter>>);

impl Kept {
    pub fn all(&self) -> Vec<DeadLetter> {
        self.0.lock().unwrap().clone()
    }
}

impl DeadLetterStore for Kept {
    async fn deliver(&self, dead_letters: Vec<DeadLetter>) {
        self.0.lock().unwrap().extend(dead_letters);
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub dead_letters: Arc<Kept>,
    pub stop: CancellationToken,
    pub served: JoinHandle<()>,
    database: PathBuf,
    _folder: tempfile::TempDir,
}

pub fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub fn limits() -> Limits {
    Limits::default()
}

pub fn options(address: impl Into<SocketAddr>, limits: Limits) -> IntakeOptions {
    IntakeOptions {
        address: address.into(),
        token: BearerToken::new(TOKEN),
        instance: "home".to_owned(),
        limits,
    }
}

/// A server on a loopback address, with an embedded database.
pub async fn server() -> Server {
    server_at(IpAddr::from([127, 0, 0, 1]), 0, limits()).await
}

pub async fn server_at(ip: IpAddr, port: u16, limits: Limits) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("points.db");
    let options = SqliteOptions {
        retention: None,
        ..SqliteOptions::new(&database)
    };
    let sink = Sink::Sqlite(Sqlite::open(options).await.unwrap());
    server_with(sink, (ip, port).into(), limits, folder, database).await
}

pub async fn server_with(
    sink: Sink,
    address: SocketAddr,
    limits: Limits,
    folder: tempfile::TempDir,
    database: PathBuf,
) -> Server {
    install_tls_provider();
    let dead_letters = Arc::new(Kept::default());
    let limits_of_pipeline = PipelineOptions {
        batch_points_max: 5_000,
        batch_age_max: Duration::from_millis(5),
        writes_in_flight_max: 2,
    };
    let pipeline = Arc::new(Pipeline::new(
        Arc::new(sink),
        Arc::clone(&dead_letters),
        Arc::new(Options::default()),
        limits_of_pipeline,
        Arc::new(LatencyRecorder::new().unwrap()),
    ));
    let intake = Intake::bind(options(address, limits)).await.unwrap();
    let address = intake.address();
    let stop = CancellationToken::new();
    let served = tokio::spawn(intake.serve(pipeline, stop.clone()));
    Server {
        address,
        dead_letters,
        stop,
        served,
        database,
        _folder: folder,
    }
}

impl Server {
    pub fn url(&self) -> String {
        format!("http://{}/v1/events", self.address)
    }

    /// Points in the database.
    pub fn points(&self) -> u64 {
        self.count("1 = 1")
    }

    pub fn count(&self, condition: &str) -> u64 {
        let database = rusqlite::Connection::open(&self.database).unwrap();
        let query = format!("SELECT count(*) FROM points WHERE {condition}");
        let count: i64 = database.query_row(&query, [], |row| row.get(0)).unwrap();
        u64::try_from(count).unwrap()
    }

    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.served)
            .await
            .unwrap()
            .unwrap();
    }
}

pub fn http() -> reqwest::Client {
    install_tls_provider();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// An event of a sensor; different numbers are different points.
pub fn event(number: u64) -> String {
    let (seconds, micros) = (number / 1_000_000 % 60, number % 1_000_000);
    let time = format!("2026-11-21T10:00:{seconds:02}.{micros:06}+00:00");
    let id = "sensor.posted";
    format!(
        r#"{{"event_type":"state_changed","data":{{"entity_id":"{id}","old_state":null,"new_state":{{"entity_id":"{id}","state":"{number}","attributes":{{"unit_of_measurement":"W"}},"last_changed":"{time}","last_updated":"{time}","context":{{"id":"a","parent_id":null,"user_id":null}}}}}},"origin":"LOCAL","time_fired":"{time}","context":{{"id":"a","parent_id":null,"user_id":null}}}}"#
    )
}

/// An event that reads like one at first and is none.
pub fn invalid_event() -> String {
    event(1).replace("sensor.posted", "no entity at all")
}

pub fn batch(events: &[String]) -> Vec<u8> {
    let envelopes = events.iter().enumerate().map(|(index, json)| Envelope {
        id: uuid::Uuid::now_v7(),
        instance: "home".into(),
        run_id: Some(7),
        sequence: Some(index as u64 + 1),
        received_at_ns: 1,
        origin: Origin::Live,
        json: json.as_bytes().into(),
    });
    let mut bytes = Vec::new();
    ha_batch::encode(&Batch::new(envelopes.collect()), &mut bytes).unwrap();
    bytes
}

/// Posts JSON with the token; status and answer.
pub async fn post(
    client: &reqwest::Client,
    url: &str,
    body: impl Into<reqwest::Body>,
) -> (u16, Value) {
    let request = client
        .post(url)
        .bearer_auth(TOKEN)
        .header("content-type", "application/json");
    let response = request.body(body).send().await.unwrap();
    let status = response.status().as_u16();
    (
        status,
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null),
    )
}

/// Sends bytes as they are, waits, sends more, and reads the answer to its end.
pub async fn raw(address: SocketAddr, parts: &[&[u8]], pause: Duration) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            tokio::time::sleep(pause).await;
        }
        // A server that has refused may have closed already.
        if stream.write_all(part).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn status_of(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

/// A request head with the token.
pub fn head(length: &str, more: &str) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\n{length}\r\n{more}\r\n"
    )
}
