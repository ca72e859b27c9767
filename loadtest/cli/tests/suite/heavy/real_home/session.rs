//! The session with Home Assistant, and what it leaves to look at.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ha_kit::{Place, Process, SOON, eventually, free_port};
use ha_services::{Service, Services};
use loadtest_engine::proxy::{Network, TcpProxy};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::house::House;
use super::schema::{Points, both_schemas, integration};
use super::states::{differences, of_database, of_recorder};
use crate::support::binaries;

/// What the session found.
pub struct Session {
    /// While everything was up.
    pub live: Vec<Compared>,
    /// With the time in which one producer was dead and the other cut off.
    pub gap: Vec<Compared>,
    /// With Home Assistant's restart.
    pub restart: Vec<Compared>,
    pub audits: Vec<Audited>,
    /// The schema of Home Assistant's integration: what we wrote, what it wrote.
    pub schema: (Points, Points),
}

/// A time of the session in one database.
pub struct Compared {
    pub name: &'static str,
    /// States that the recorder kept.
    pub recorded: usize,
    /// Points that gap fill brought.
    pub backfilled: usize,
    pub problems: Vec<String>,
}

/// Created and removed while nobody looked: history is asked for by name, and Home Assistant names
/// it nowhere. It is the one thing that gap fill cannot bring back.
pub const PASSING: &str = "sensor.passing";

/// At its start Home Assistant sets this one before the recorder listens, so it is not in the
/// history; gap fill finds it among the current states.
pub const BEFORE_THE_RECORDER: &str = "person.test";

/// Whether a difference between the recorder and the database has one of these reasons.
pub fn is_explained(difference: &str) -> bool {
    difference.contains(PASSING) && difference.ends_with("is missing")
        || difference.contains(BEFORE_THE_RECORDER) && difference.ends_with("not in the history")
}

/// Exit code and report of `worker audit`.
pub struct Audited {
    pub name: &'static str,
    pub whole: (Option<i32>, Value),
    /// The same after one point was deleted.
    pub deleted: (Option<i32>, Value),
}

/// A producer of the home in one mode, and what it writes to.
struct Member {
    name: &'static str,
    mode: &'static str,
    settings: Vec<(&'static str, String)>,
    worker_settings: Vec<(&'static str, String)>,
    place: Place,
    files: TempDir,
    home_url: String,
    home_token: String,
    producer: Option<Process>,
    worker: Option<Process>,
}

impl Member {
    async fn new(name: &'static str, home_url: &str, house: &House) -> Self {
        Self {
            name,
            mode: name,
            settings: Vec::new(),
            worker_settings: Vec::new(),
            place: Place::new().await,
            files: tempfile::tempdir().unwrap(),
            home_url: home_url.to_owned(),
            home_token: house.token.clone(),
            producer: None,
            worker: None,
        }
    }

    fn binary(name: &str) -> PathBuf {
        let binary = binaries().join(name);
        assert!(
            binary.is_file(),
            "{} is not there; run `cargo build -p producer -p worker` first",
            binary.display()
        );
        binary
    }

    fn start(&mut self) {
        let mut variables = self.place.influxdb();
        variables.extend([
            ("INSTANCE_NAME", self.name.to_owned()),
            ("HOME_ASSISTANT_URL", self.home_url.clone()),
            ("HOME_ASSISTANT_TOKEN", self.home_token.clone()),
            (
                "SPOOL_PATH",
                self.files.path().join("spool.db").display().to_string(),
            ),
            ("AMQP_URL", self.place.amqp_url()),
            ("ENRICHMENT_MODE", self.mode.to_owned()),
        ]);
        variables.extend(self.settings.iter().cloned());
        if let ("queue" | "service", None) = (self.mode, &self.worker) {
            let mut variables = self.place.influxdb();
            if self.mode == "queue" {
                variables.push(("AMQP_URL", self.place.amqp_url()));
            }
            let dead_letters = self.files.path().join("letters.db").display().to_string();
            variables.push(("SPOOL_PATH", dead_letters));
            variables.extend(self.worker_settings.iter().cloned());
            let binary = Self::binary("worker");
            self.worker = Some(Process::start(&binary, &["run"], &variables));
        }
        self.producer = Some(Process::start(
            &Self::binary("producer"),
            &["run"],
            &variables,
        ));
    }

    async fn wait_until_ready(&self) {
        for process in [&self.producer, &self.worker].into_iter().flatten() {
            process.wait_until_ready().await;
        }
    }

    async fn stop(&mut self) {
        for process in [self.producer.take(), self.worker.take()]
            .into_iter()
            .flatten()
        {
            process.stop().await;
        }
    }

    /// Waits until the database holds what the recorder does, or for long enough.
    async fn compare(&self, home: &Services, since_us: i64, until_us: i64) -> Compared {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let recorder = of_recorder(&home.home_assistant_recorder(), since_us, until_us);
            let database = of_database(&self.place, since_us, until_us).await;
            let mut problems = differences(&recorder, &database.states);
            if problems.iter().all(|problem| is_explained(problem))
                || tokio::time::Instant::now() > deadline
            {
                problems.extend(database.wrong);
                return Compared {
                    name: self.name,
                    recorded: recorder.len(),
                    backfilled: database.backfilled,
                    problems,
                };
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn audit(&self, house: &House, since_us: i64, until_us: i64) -> Audited {
        let whole = self.run_audit(house, since_us, until_us).await;
        let some = "SELECT state FROM home_assistant_events WHERE time >= ";
        let statement = format!("{some}{since_us}000 ORDER BY time ASC LIMIT 1 OFFSET 50");
        let services = self.place.services;
        let answer = services.query(&self.place.database, &statement).await;
        let time = answer.unwrap();
        let time = time.pointer("/results/0/series/0/values/0/0").unwrap();
        let statement = format!("DELETE FROM home_assistant_events WHERE time = {time}");
        services
            .query(&self.place.database, &statement)
            .await
            .unwrap();
        Audited {
            name: self.name,
            whole,
            deleted: self.run_audit(house, since_us, until_us).await,
        }
    }

    async fn run_audit(&self, house: &House, since_us: i64, until_us: i64) -> (Option<i32>, Value) {
        let time = |us| jiff::Timestamp::from_microsecond(us).unwrap().to_string();
        let output = tokio::process::Command::new(Self::binary("worker"))
            .args(["audit", "--json", "--since", &time(since_us)])
            .args(["--until", &time(until_us)])
            .env_clear()
            .envs(self.place.influxdb())
            .env("INSTANCE_NAME", self.name)
            .env("HOME_ASSISTANT_URL", &house.url)
            .env("HOME_ASSISTANT_TOKEN", &house.token)
            .output()
            .await
            .unwrap();
        let report = serde_json::from_slice(&output.stdout);
        let words = String::from_utf8_lossy(&output.stderr);
        let report = report.unwrap_or_else(|_| Value::from(words.into_owned()));
        (output.status.code(), report)
    }
}

fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_micros()).unwrap()
}

/// Waits until the recorder has committed a state that is younger than this.
async fn until_recorded(home: &Services, time_us: i64) {
    eventually("the recorder to commit", async || {
        let file = home.home_assistant_recorder();
        (!of_recorder(&file, time_us, i64::MAX / 2).is_empty()).then_some(())
    })
    .await;
}

/// Runs the session.
pub async fn session() -> Session {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let began = std::time::Instant::now();
    let passed = |what: &str| eprintln!("{:.1} s: {what}", began.elapsed().as_secs_f64());
    let integration = integration().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, integration.configuration()).unwrap();
    let file = file.path().display().to_string();
    let settings = [("HOME_ASSISTANT_CONFIG_FILE", file.as_str())];
    let home = Services::start_private_with(&[Service::HomeAssistant], &settings)
        .await
        .unwrap();
    let house = House::of(&home).await;
    passed("Home Assistant runs");
    let target = house.url.trim_start_matches("http://").parse().unwrap();
    let network = TcpProxy::start(free_port(), vec![target]).await.unwrap();
    let through = format!("http://{}", network.address());
    let mut members = vec![
        Member::new("queue", &house.url, &house).await,
        Member::new("inline", &through, &house).await,
        Member::new("service", &house.url, &house).await,
    ];
    let (port, token) = (free_port(), String::from("of-the-test"));
    members[2].settings = vec![
        ("ENRICHMENT_SERVICE_URL", format!("http://127.0.0.1:{port}")),
        ("INTAKE_TOKEN", token.clone()),
    ];
    members[2].worker_settings = vec![
        ("INTAKE_ADDR", format!("127.0.0.1:{port}")),
        ("INTAKE_TOKEN", token),
    ];
    let mut schema = Member::new("schema", &house.url, &house).await;
    schema.mode = "inline";
    schema.settings = integration.settings();
    schema.start();
    for member in &mut members {
        member.start();
    }
    for member in members.iter().chain([&schema]) {
        member.wait_until_ready().await;
    }

    passed("producers are ready");
    let began_us = now_us();
    for round in 0..12 {
        house.live(round).await;
    }
    house.burst(1_500).await;
    let ended_us = now_us();
    let live = compare(&members, &home, began_us, ended_us).await;
    let schema = {
        let log = home.dir().join("home-assistant/output.log");
        let both = both_schemas(&schema.place, &integration, &log, began_us, ended_us).await;
        schema.stop().await;
        both
    };

    passed("live and schemas compared");
    members[0].producer.take().unwrap().kill().await;
    network.set(Network::Cut);
    for round in 12..16 {
        house.live(round).await;
    }
    house.remove("binary_sensor.motion").await;
    house.set(PASSING, "1", json!({})).await;
    house.remove(PASSING).await;
    // What is committed now is there when history is read; what is not, half a minute later.
    until_recorded(&home, now_us()).await;
    house.live(16).await;
    network.set(Network::Open);
    members[0].start();
    let gap = compare(&members, &home, began_us, now_us()).await;

    passed("gap compared");
    home.stop(Service::HomeAssistant).await.unwrap();
    home.start_again(Service::HomeAssistant).await.unwrap();
    for member in &members {
        member.wait_until_ready().await;
    }
    house.live(17).await;
    let ended_us = now_us();
    let restart = compare(&members, &home, began_us, ended_us).await;

    passed("restart compared");
    for member in &mut members {
        member.stop().await;
    }
    let audits = members
        .iter()
        .map(|member| member.audit(&house, began_us, ended_us));
    let audits = futures_util::future::join_all(audits).await;
    passed("audited");
    Session {
        live,
        gap,
        restart,
        audits,
        schema,
    }
}

async fn compare(
    members: &[Member],
    home: &Services,
    since_us: i64,
    until_us: i64,
) -> Vec<Compared> {
    until_recorded(home, until_us).await;
    let compared = members
        .iter()
        .map(|member| member.compare(home, since_us, until_us));
    futures_util::future::join_all(compared).await
}
