//! What several tests need.

use std::path::PathBuf;
use std::process::Stdio;

use clap::Parser;
use ha_services::{INFLUXDB_ORG, Services};
use ha_settings::Problems;
use loadtest_engine::plan::Plan;
use loadtest_engine::settings::RunArgs;
use serde_json::Value;
use tokio::process::Command;

/// Attributes of the report that the contract names, in its order.
pub const CONTRACT_KEYS: [&str; 18] = [
    "scenario",
    "mode",
    "events_sent",
    "events_stored",
    "missing",
    "duplicates",
    "dead_lettered",
    "seconds",
    "events_per_s",
    "latency_ms",
    "producer",
    "worker",
    "broker_cpu_s",
    "database_cpu_s",
    "queue_depth_max",
    "recovery_s",
    "faults",
    "verdict",
];

pub fn capture() -> PathBuf {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../producer/tests/fixtures");
    PathBuf::from(fixtures).join("home-assistant-2024.3.3.jsonl")
}

/// The binary, once those beside it are known to be there.
pub fn loadtest() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let folder = binaries();
    for name in ["producer", "worker"] {
        assert!(
            folder.join(name).is_file(),
            "{} is not there; run `cargo build -p producer -p worker` first, or test the whole \
             workspace, which builds them",
            folder.join(name).display()
        );
    }
    // Nothing of the caller's may aim the tests elsewhere.
    for name in ["AMQP_URL", "INFLUXDB_URL", "INFLUXDB_API", "INFLUXDB_TOKEN"] {
        command.env_remove(name).env_remove(format!("{name}_FILE"));
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub fn binaries() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_loadtest"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A virtual host and a database of a test's own in the shared services.
pub struct Place {
    pub services: &'static Services,
    pub vhost: String,
    pub database: String,
}

impl Place {
    pub async fn new() -> Self {
        let services = Services::shared().await.unwrap();
        let (vhost, database) = (Services::unique_name("lt"), Services::unique_name("lt"));
        services.create_vhost(&vhost).await.unwrap();
        services.create_database(&database).await.unwrap();
        Self {
            services,
            vhost,
            database,
        }
    }

    /// Attached to both, with the InfluxDB API `v1` or `v2`.
    pub fn arguments(&self, api: &str) -> Vec<String> {
        let url = match api {
            "v1" => self.services.influxdb_url(),
            _ => self.services.influxdb_v2_url(),
        };
        let amqp_url = self.services.amqp_url(&self.vhost);
        let management_url = self.services.rabbitmq_management_url();
        [
            ("--amqp-url", amqp_url.as_str()),
            ("--rabbitmq-management-url", &management_url),
            ("--influxdb-api", api),
            ("--influxdb-url", &url),
            ("--influxdb-token", self.services.influxdb_token()),
            ("--influxdb-org", INFLUXDB_ORG),
            ("--influxdb-bucket", &self.database),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value.to_owned()])
        .collect()
    }
}

/// Runs `loadtest run steady` and gives its report; it must have passed.
pub async fn pass(arguments: &str, place: &[String]) -> Value {
    let mut command = loadtest();
    command
        .args(["run", "steady", "--json", "-"])
        .args(arguments.split(' '))
        .args(place);
    let output = command.output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments}\n{text}\n{errors}"
    );
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["verdict"], "pass");
    for name in ["missing", "duplicates", "unexplained"] {
        assert_eq!(report[name], 0, "{name} of {report:#}");
    }
    // With gaps filled, more may be stored than was sent.
    let (stored, sent) = (
        report["events_stored"].as_u64(),
        report["events_sent"].as_u64(),
    );
    assert!(stored.is_some() && stored >= sent, "{report:#}");
    report
}

/// The plan of a command line.
pub fn plan(arguments: &str, place: &[String]) -> Plan {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let words = std::iter::once("run")
        .chain(arguments.split(' '))
        .map(str::to_owned);
    let line = Line::parse_from(words.chain(place.iter().cloned()));
    let mut problems = Problems::default();
    let plan = line.run.resolve(&mut problems);
    assert!(problems.is_empty(), "{problems}");
    Plan {
        binaries: Some(binaries()),
        ..plan.unwrap()
    }
}
