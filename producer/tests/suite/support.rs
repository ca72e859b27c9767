//! A home, a producer, and what must have become of the home's events.

use ha_kit::{Place, Process, Stored};
use ha_simulator::{HouseOptions, Simulator, SimulatorOptions};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub type Variables = Vec<(&'static str, String)>;

/// The files of one producer.
pub struct Files {
    dir: TempDir,
}

impl Files {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn database(&self) -> PathBuf {
        self.dir.path().join("points.db")
    }

    pub fn spool(&self) -> PathBuf {
        self.dir.path().join("spool.db")
    }

    /// The settings of a producer of this home; what else it needs depends on the mode.
    pub fn variables(&self, home: &Simulator, mode: &str) -> Variables {
        vec![
            ("ENRICHMENT_MODE", mode.into()),
            ("HOME_ASSISTANT_URL", home.url()),
            ("HOME_ASSISTANT_TOKEN", home.token().into()),
            ("SPOOL_PATH", self.spool().display().to_string()),
        ]
    }

    /// The same with the embedded database, which keeps everything.
    pub fn embedded(&self, home: &Simulator, mode: &str) -> Variables {
        let mut variables = self.variables(home, mode);
        variables.push(("SQLITE_PATH", self.database().display().to_string()));
        variables.push(("SQLITE_RETENTION", "0".into()));
        variables
    }

    /// All points of state changes in the embedded database, in the order of time.
    pub fn points(&self) -> Vec<Stored> {
        let database = rusqlite::Connection::open(self.database()).unwrap();
        let mut statement = database
            .prepare(
                "SELECT time_ns, tags, fields FROM points \
                 WHERE measurement = 'home_assistant_events'",
            )
            .unwrap();
        let rows = statement.query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        });
        let mut points: Vec<_> = rows
            .unwrap()
            .map(|row| {
                let (time_ns, tags, fields) = row.unwrap();
                let mut columns: BTreeMap<String, Value> = serde_json::from_str(&tags).unwrap();
                let fields: BTreeMap<String, Value> = serde_json::from_str(&fields).unwrap();
                columns.extend(fields);
                Stored { time_ns, columns }
            })
            .collect();
        points.sort_by_key(|point| (point.time_ns, point.text("entity_id").to_owned()));
        points
    }

    /// Headers of the dead letters in the spool, whose process must have ended.
    pub fn dead_letters(&self) -> Vec<BTreeMap<String, String>> {
        let spool = rusqlite::Connection::open(self.spool()).unwrap();
        let mut statement = spool
            .prepare("SELECT headers FROM letters ORDER BY position")
            .unwrap();
        let rows = statement
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap();
        rows.map(|headers| {
            let headers: Vec<(String, String)> = serde_json::from_str(&headers.unwrap()).unwrap();
            headers.into_iter().collect()
        })
        .collect()
    }
}

pub fn producer(variables: &[(&'static str, String)]) -> Process {
    Process::start(
        Path::new(env!("CARGO_BIN_EXE_producer")),
        &["run"],
        variables,
    )
}

/// The worker of the same build; cargo builds it only when it is asked for it.
pub fn worker(place: &Place) -> Process {
    worker_with(place, &[])
}

/// The same with more variables.
pub fn worker_with(place: &Place, more: &[(&'static str, String)]) -> Process {
    let mut variables = place.influxdb();
    variables.push(("AMQP_URL", place.amqp_url()));
    variables.extend(more.iter().cloned());
    Process::start(&worker_binary(), &["run"], &variables)
}

fn worker_binary() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_producer")).with_file_name("worker");
    assert!(
        binary.is_file(),
        "{} is not there: `cargo build -p worker` makes it (`cargo test --workspace` does too)",
        binary.display()
    );
    binary
}

/// A worker without a broker, whose intake listens on this port.
pub fn service_worker(place: &Place, files: &Files, port: u16, token: &str) -> Process {
    service_worker_with(place, files, port, token, &[])
}

/// The same with more settings.
pub fn service_worker_with(
    place: &Place,
    files: &Files,
    port: u16,
    token: &str,
    more: &[(&'static str, String)],
) -> Process {
    let mut variables = place.influxdb();
    let dead_letters = files.dir.path().join(format!("letters-{port}.db"));
    variables.extend([
        ("INTAKE_ADDR", format!("127.0.0.1:{port}")),
        ("INTAKE_TOKEN", token.to_owned()),
        ("SPOOL_PATH", dead_letters.display().to_string()),
    ]);
    variables.extend_from_slice(more);
    Process::start(&worker_binary(), &["run"], &variables)
}

pub async fn home() -> Simulator {
    let house = HouseOptions {
        entities: 100,
        ..HouseOptions::default()
    };
    let options = SimulatorOptions {
        house,
        ..SimulatorOptions::default()
    };
    Simulator::start(options).await.unwrap()
}

/// Replaces variables.
pub fn with(mut variables: Variables, other: &[(&'static str, String)]) -> Variables {
    variables.retain(|(name, _)| other.iter().all(|(replaced, _)| replaced != name));
    variables.extend(other.iter().cloned());
    variables
}

/// What of the home's sent events is not among the points, or twice, or with another state; empty
/// if all is well.
pub fn missing_or_wrong(home: &Simulator, points: &[Stored]) -> Vec<String> {
    let ledger = home.ledger();
    let entities = ledger.entities();
    let mut stored: BTreeMap<(i64, &str), Vec<&Stored>> = BTreeMap::new();
    for point in points {
        let key = (point.time_ns / 1_000, point.text("entity_id"));
        stored.entry(key).or_default().push(point);
    }
    let mut problems: Vec<_> = stored
        .iter()
        .filter(|(_, points)| points.len() > 1)
        .map(|(key, points)| format!("{} points of {key:?}", points.len()))
        .collect();
    for event in ledger.events().iter().filter(|event| event.sent) {
        let entity: &str = &entities[event.entity as usize];
        match (stored.get(&(event.time_us, entity)), &event.state) {
            (None, _) => problems.push(format!("{entity} at {} is missing", event.time_us)),
            (Some(points), Some(state)) if points[0].text("state") != state.as_str() => {
                problems.push(format!("{entity} at {} is not {state}", event.time_us));
            }
            (Some(points), None) if points[0].columns.get("removed") != Some(&true.into()) => {
                problems.push(format!("{entity} at {} is not removed", event.time_us));
            }
            _ => {}
        }
    }
    problems
}

/// The number of events of the ledger, sent or not, that are not among the points.
pub fn absent(home: &Simulator, files: &Files) -> usize {
    let ledger = home.ledger();
    let entities = ledger.entities();
    let stored: HashSet<(i64, String)> = files
        .points()
        .iter()
        .map(|point| (point.time_ns / 1_000, point.text("entity_id").to_owned()))
        .collect();
    let is_absent = |entity: &str, time_us: i64| !stored.contains(&(time_us, entity.to_owned()));
    let events = ledger.events();
    events
        .iter()
        .filter(|event| is_absent(&entities[event.entity as usize], event.time_us))
        .count()
}

/// Waits until the producer has received every event that the home fired, and each is safe.
pub async fn wait_until_settled(process: &Process, home: &Simulator) {
    wait_until_settled_beside(process, home, 0, 0).await;
}

/// Waits likewise, with more events that the ledger does not have, some of which became dead letters
/// before they were in a batch.
pub async fn wait_until_settled_beside(
    process: &Process,
    home: &Simulator,
    more: u64,
    dead_letters: u64,
) {
    let fired = home.ledger().fired() + more;
    ha_kit::eventually(&format!("{fired} events to be settled"), async || {
        let status = process.status().await;
        let count = |name: &str| status["events"][name].as_u64().unwrap();
        let is_safe = count("confirmed") + count("drained") + dead_letters >= count("accepted");
        (count("received") >= fired && is_safe && status["spool"]["events"] == 0).then_some(())
    })
    .await;
}
