//! One test's virtual host and database, and the binary run on them.

use ha_batch::{Batch, Envelope, Origin};
use ha_broker::{
    Broker, BrokerOptions, DeadLetterReader, Outgoing, Publisher, PublisherOptions, PublisherState,
    TlsFiles, topology,
};
use ha_pipeline::{DeadLetter, Reason};
use ha_services::Services;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

pub const DEADLINE: Duration = Duration::from_secs(60);

/// A virtual host and a database of its own.
pub struct Place {
    pub services: &'static Services,
    pub amqp_url: String,
    pub database: String,
    pub directory: tempfile::TempDir,
    pub broker: Arc<Broker>,
    pub publisher: Publisher,
}

impl Place {
    pub async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let services = Services::shared().await.unwrap();
        let name = Services::unique_name("workbench");
        services.create_vhost(&name).await.unwrap();
        services.create_database(&name).await.unwrap();
        let amqp_url = services.amqp_url(&name);
        let options = BrokerOptions {
            url: amqp_url.parse().unwrap(),
            connection_name: "workbench test".into(),
            tls: TlsFiles::default(),
        };
        let broker = Arc::new(Broker::new(options).unwrap());
        let publisher = Publisher::start(Arc::clone(&broker), PublisherOptions::default());
        let mut state = publisher.state();
        let connected = state.wait_for(|state| *state == PublisherState::Connected);
        tokio::time::timeout(DEADLINE, connected)
            .await
            .unwrap()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        Self {
            services,
            amqp_url,
            database: name,
            directory,
            broker,
            publisher,
        }
    }

    pub fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// The binary with this place's settings and nothing of the environment's.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command
            .args(arguments)
            .env_clear()
            .env("AMQP_URL", &self.amqp_url)
            .env("INFLUXDB_URL", self.services.influxdb_url())
            .env("INFLUXDB_API", "v1")
            .env("INFLUXDB_BUCKET", &self.database)
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the binary to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = tokio::process::Command::from(self.command(arguments));
        let ran = tokio::time::timeout(DEADLINE, command.kill_on_drop(true).output());
        Ran::of(ran.await.expect("in time").unwrap())
    }

    /// `worker run`, until it is dropped.
    pub fn start_worker(&self) -> Running {
        let mut command = self.command(&["run"]);
        Running(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    pub async fn publish_dead_letters(&self, dead_letters: Vec<DeadLetter>) {
        let sent = dead_letters.into_iter().map(|dead_letter| {
            let message =
                ha_dead_letters::dead_letter_message(dead_letter.headers(), dead_letter.payload);
            self.publisher.publish(message)
        });
        for sent in futures_util::future::join_all(sent).await {
            sent.unwrap();
        }
    }

    /// Batches on their way to a worker, as a producer sends them.
    pub async fn publish_batch(&self, payload: Vec<u8>) {
        let message = Outgoing {
            exchange: topology::EVENTS_EXCHANGE,
            routing_key: "home".into(),
            payload: payload.into(),
            content_type: ha_batch::CONTENT_TYPE,
            headers: Vec::new(),
        };
        self.publisher.publish(message).await.unwrap();
    }

    pub async fn depth(&self) -> u32 {
        let reader = DeadLetterReader::open(Arc::clone(&self.broker))
            .await
            .unwrap();
        let depth = reader.depth().await.unwrap();
        reader.close().await.unwrap();
        depth
    }

    /// Batches that wait for a worker.
    pub async fn waiting(&self) -> u32 {
        let reader = DeadLetterReader::open(Arc::clone(&self.broker))
            .await
            .unwrap();
        let depth = reader.waiting_batches().await.unwrap();
        reader.close().await.unwrap();
        depth
    }

    pub async fn points(&self) -> u64 {
        let statement = "SELECT count(\"sequence\") FROM home_assistant_events";
        let answer = self
            .services
            .query(&self.database, statement)
            .await
            .unwrap();
        answer
            .pointer("/results/0/series/0/values/0/1")
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    pub async fn until_points(&self, count: u64) {
        until("points", || async { self.points().await >= count }).await;
    }

    pub async fn until_depth(&self, count: u32) {
        until("letters", || async { self.depth().await == count }).await;
    }

    /// All dead letters, as `dlq list --json` prints them.
    pub async fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let ran = self
            .run(&[&["dlq", "list", "--json"], arguments].concat())
            .await;
        assert_eq!(ran.code, 0, "{}", ran.error);
        ran.text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Waits for a condition.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub text: String,
    pub error: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            text: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A process that is killed when it is no longer wanted.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The run that test events belong to.
pub const RUN_ID: u64 = 1_795_300_000_000;

/// Microseconds since the epoch of event n: one a second.
pub fn time_us(sequence: u64) -> i64 {
    i64::try_from(RUN_ID * 1_000 + sequence * 1_000_000).unwrap()
}

/// Home Assistant's event n of a run.
pub fn event(entity_id: &str, sequence: u64) -> String {
    let time = ha_event::UtcMicros(time_us(sequence));
    format!(
        r#"{{"event_type":"state_changed","data":{{"entity_id":"{entity_id}","old_state":null,"new_state":{{"entity_id":"{entity_id}","state":"{sequence}","attributes":{{}},"last_changed":"{time}","last_updated":"{time}"}}}},"origin":"LOCAL","time_fired":"{time}","context":{{"id":"01"}}}}"#
    )
}

pub fn envelope(sequence: u64, json: &str) -> Envelope<'_> {
    Envelope {
        id: Uuid::now_v7(),
        instance: "home".into(),
        run_id: Some(RUN_ID),
        sequence: Some(sequence),
        received_at_ns: time_us(sequence) * 1_000,
        origin: Origin::Live,
        json: json.as_bytes().into(),
    }
}

pub fn encoded(envelopes: Vec<Envelope<'_>>) -> Vec<u8> {
    let mut payload = Vec::new();
    ha_batch::encode(&Batch::new(envelopes), &mut payload).unwrap();
    payload
}

/// A dead letter of an event that is good today.
pub fn good_dead_letter(sequence: u64) -> DeadLetter {
    let json = event(&format!("sensor.s{}", sequence % 10), sequence);
    let error =
        format!("partial write: field type conflict: input field \"value\" on line {sequence}");
    DeadLetter::of_event(
        Reason::SinkRejected,
        "sink",
        &error,
        &envelope(sequence, &json),
    )
}

/// A dead letter of something that is still no event.
pub fn bad_dead_letter(sequence: u64) -> DeadLetter {
    let json = r#"{"event_type":"state_changed","data":{"entity_id":"light.bad","new_state":{"state":5}}}"#;
    let error = "not a Home Assistant event: invalid type";
    DeadLetter::of_event(
        Reason::InvalidEvent,
        "enrich",
        &error,
        &envelope(sequence, json),
    )
}

pub fn exists(path: &str) -> bool {
    Path::new(path).exists()
}
