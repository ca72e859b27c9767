//! What several test files need.

use ha_batch::{Batch, Envelope, Origin};
use ha_pipeline::{
    DeadLetter, DeadLetterStore, LatencyRecorder, Outcome, Pipeline, PipelineOptions, SinkState,
    Work,
};
use ha_sink::Sink;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What a test waits for comes well within this, even on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Dead letters that a test can look at.
#[derive(Debug, Default)]
pub struct DeadLetters(Mutex<Vec<DeadLetter>>);

impl DeadLetters {
    pub fn all(&self) -> Vec<DeadLetter> {
        self.0.lock().unwrap().clone()
    }
}

impl DeadLetterStore for DeadLetters {
    async fn deliver(&self, dead_letters: Vec<DeadLetter>) {
        self.0.lock().unwrap().extend(dead_letters);
    }
}

/// A running pipeline; ack handles are numbers.
pub struct Running {
    pub dead_letters: Arc<DeadLetters>,
    pub latency: Arc<LatencyRecorder>,
    pub state: watch::Receiver<SinkState>,
    work: mpsc::Sender<Work<u64>>,
    outcomes: mpsc::Receiver<Outcome<u64>>,
    task: JoinHandle<()>,
}

pub fn options() -> PipelineOptions {
    PipelineOptions {
        batch_points_max: 100,
        batch_age_max: Duration::from_millis(10),
        writes_in_flight_max: 2,
    }
}

impl Running {
    pub fn start(sink: Sink, options: PipelineOptions) -> Self {
        let dead_letters = Arc::new(DeadLetters::default());
        let latency = Arc::new(LatencyRecorder::new().unwrap());
        let enrichment = Arc::new(ha_enrich::Options::default());
        let pipeline = Pipeline::new(
            Arc::new(sink),
            Arc::clone(&dead_letters),
            enrichment,
            options,
            Arc::clone(&latency),
        );
        let state = pipeline.sink_state();
        let (work, input) = mpsc::channel(1_000);
        let (output, outcomes) = mpsc::channel(1_000);
        let task = tokio::spawn(async move { pipeline.run(input, output).await });
        Self {
            dead_letters,
            latency,
            state,
            work,
            outcomes,
            task,
        }
    }

    pub async fn send(&self, ack_handle: u64, payload: Vec<u8>) {
        self.work
            .send(Work {
                payload: payload.into(),
                replay: None,
                ack_handle,
            })
            .await
            .unwrap();
    }

    pub async fn outcome(&mut self) -> Outcome<u64> {
        timeout(SOON, self.outcomes.recv())
            .await
            .expect("an outcome")
            .expect("still running")
    }

    pub async fn wait_for_state(&mut self, wanted: impl Fn(&SinkState) -> bool) -> SinkState {
        let state = timeout(SOON, self.state.wait_for(wanted))
            .await
            .expect("that state");
        state.unwrap().clone()
    }

    /// Closes the input and takes every outcome that is left; the dead letters.
    pub async fn finish(mut self) -> (Vec<Outcome<u64>>, Vec<DeadLetter>) {
        drop(self.work);
        let mut left = Vec::new();
        while let Some(outcome) = timeout(SOON, self.outcomes.recv()).await.expect("an end") {
            left.push(outcome);
        }
        timeout(SOON, self.task).await.expect("an end").unwrap();
        (left, self.dead_letters.all())
    }
}

/// A state change at the n-th microsecond of 2026.
pub fn state_changed(entity: &str, state: &str, n: u32) -> String {
    let time = format!("2026-01-01T00:00:00.{n:06}+00:00");
    format!(
        r#"{{"event_type":"state_changed","data":{{"entity_id":"{entity}","old_state":null,"new_state":{{"entity_id":"{entity}","state":"{state}","attributes":{{}},"last_changed":"{time}","last_updated":"{time}"}}}},"time_fired":"{time}"}}"#
    )
}

pub fn batch_of(events: &[String]) -> Batch<'_> {
    let envelope = |(n, json): (usize, &'_ String)| Envelope {
        id: uuid::Uuid::from_u128(n as u128),
        instance: "home".into(),
        run_id: Some(1),
        sequence: Some(n as u64),
        received_at_ns: 1,
        origin: Origin::Live,
        json: json.clone().into_bytes().into(),
    };
    Batch::new(events.iter().enumerate().map(envelope).collect())
}

pub fn encoded(batch: &Batch<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ha_batch::encode(batch, &mut bytes).unwrap();
    bytes
}

pub fn batch(events: &[String]) -> Vec<u8> {
    encoded(&batch_of(events))
}

pub fn newer_batch() -> Vec<u8> {
    let events = [state_changed("sensor.newer", "1", 1)];
    let mut newer = batch_of(&events);
    newer.version = ha_batch::VERSION + 1;
    encoded(&newer)
}

/// An empty embedded database and where it is.
pub async fn embedded() -> (tempfile::TempDir, std::path::PathBuf, Sink) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("points.db");
    let options = ha_sink::SqliteOptions {
        retention: None,
        ..ha_sink::SqliteOptions::new(&path)
    };
    (
        dir,
        path,
        Sink::Sqlite(ha_sink::Sqlite::open(options).await.unwrap()),
    )
}

/// Entity and state (empty where there is none) of every stored point, in the order of time.
pub fn stored(path: &std::path::Path) -> Vec<(String, String)> {
    let database = rusqlite::Connection::open(path).unwrap();
    let mut statement = database
        .prepare(
            "SELECT json_extract(tags, '$.entity_id'), coalesce(json_extract(fields, '$.state'), '') \
             FROM points ORDER BY time_ns, 1",
        )
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}
