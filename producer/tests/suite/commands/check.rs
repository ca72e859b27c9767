//! `check` and `healthcheck`.

use super::{Variables, binary, run};
use crate::weather::open_meteo;
use ha_kit::{Place, Process, free_port};
use ha_simulator::{Simulator, SimulatorOptions};
use std::path::Path;
use std::time::Duration;

pub fn inline(home: &Simulator, folder: &Path) -> Variables {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        ("HOME_ASSISTANT_URL", home.url()),
        ("HOME_ASSISTANT_TOKEN", home.token().into()),
        ("SPOOL_PATH", file("spool.db")),
        ("SQLITE_PATH", file("points.db")),
        ("SPOOL_BYTES_MAX", "8388608".into()),
    ]
}

pub fn replaced(mut variables: Variables, name: &'static str, value: &str) -> Variables {
    variables.retain(|(other, _)| *other != name);
    variables.push((name, value.into()));
    variables
}

/// Exit code and lines.
pub async fn check(name: &str, variables: &[(&'static str, String)]) -> (Option<i32>, String) {
    let ended = run(name, &["check"], variables).await;
    (ended.status.code(), ended.output)
}

pub fn line<'a>(output: &'a str, beginning: &str) -> &'a str {
    output
        .lines()
        .find(|line| line.starts_with(beginning))
        .unwrap_or_else(|| panic!("no line {beginning:?}:\n{output}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_with_everything_right() {
    let folder = tempfile::tempdir().unwrap();
    let home = Simulator::start(SimulatorOptions::default()).await.unwrap();
    let firing = home.run_rate(50.0, None);
    let (code, output) = check("producer", &inline(&home, folder.path())).await;
    assert_eq!(code, Some(0), "{output}");
    let found = line(&output, "ok   Home Assistant 2024.3.3 at http://127.0.0.1:");
    assert!(found.contains("token accepted"), "{output}");
    line(&output, "ok   clock: Home Assistant and this machine agree");
    line(&output, "ok   database: SQLite file");
    line(&output, "ok   spool: ");
    assert!(
        !folder.path().join("spool.db").exists(),
        "a look leaves nothing behind"
    );
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .collect();
    assert!(
        left.iter()
            .all(|entry| !entry.file_name().to_string_lossy().contains("check"))
    );

    home.set_clock_offset_us(90_000_000);
    let (code, output) = check("producer", &inline(&home, folder.path())).await;
    assert_eq!(code, Some(0), "{output}");
    let found = line(&output, "warn clock: Home Assistant is ");
    assert!(
        found.contains("s ahead of this machine; set both by NTP"),
        "{output}"
    );
    firing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_a_line_with_its_remedy_and_nothing_hides_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let home = Simulator::start(SimulatorOptions::default()).await.unwrap();
    let good = inline(&home, folder.path());
    let nobody = format!("http://127.0.0.1:{}", free_port());

    let (code, output) = check(
        "producer",
        &replaced(good.clone(), "HOME_ASSISTANT_TOKEN", "x"),
    )
    .await;
    assert_eq!(code, Some(1), "{output}");
    let found = line(&output, "FAIL Home Assistant at ");
    assert!(
        found.contains("token is refused") && found.contains("HOME_ASSISTANT_TOKEN"),
        "{output}"
    );
    line(&output, "ok   spool: ");

    let mut bad = replaced(good, "HOME_ASSISTANT_URL", &nobody);
    bad = replaced(bad, "SPOOL_PATH", "/proc/spool.db");
    bad.push(("INFLUXDB_URL", nobody.clone()));
    bad.push(("INFLUXDB_TOKEN", "a-secret".into()));
    bad.push(("WEATHER_PROVIDER", "openweathermap".into()));
    bad.push(("WEATHER_API_KEY", "a-secret".into()));
    bad.push(("WEATHER_URL", nobody));
    let (code, output) = check("producer", &bad).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(
        line(&output, "FAIL Home Assistant at ").contains("HOME_ASSISTANT_URL"),
        "{output}"
    );
    assert!(
        line(&output, "FAIL database: ").contains("INFLUXDB_URL"),
        "{output}"
    );
    assert!(
        line(&output, "FAIL spool: ").contains("SPOOL_PATH"),
        "{output}"
    );
    let found = line(&output, "FAIL weather: openweathermap at http://127.0.0.1:");
    assert!(
        found.contains("refused") && found.contains("correct WEATHER_URL"),
        "{output}"
    );
    assert!(!output.contains("a-secret"), "{output}");

    let (code, output) = check("producer", &[("ENRICHMENT_MODE", "sideways".into())]).await;
    assert_eq!(code, Some(2), "{output}");
    assert!(
        output.contains("ENRICHMENT_MODE") && output.contains("HOME_ASSISTANT_URL"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_and_databases_of_both_binaries() {
    let (folder, place) = (tempfile::tempdir().unwrap(), Place::new().await);
    let home = Simulator::start(SimulatorOptions::default()).await.unwrap();
    let mut producer = replaced(inline(&home, folder.path()), "ENRICHMENT_MODE", "queue");
    producer.push(("AMQP_URL", place.amqp_url()));
    let (code, output) = check("producer", &producer).await;
    assert_eq!(code, Some(0), "{output}");
    let found = line(&output, "ok   broker: RabbitMQ at amqp://127.0.0.1:");
    assert!(
        found.contains("exchanges and queues are as they must be"),
        "{output}"
    );
    assert!(!output.contains("guest"), "{output}");

    let mut worker = place.influxdb();
    worker.push(("AMQP_URL", place.amqp_url()));
    worker.push(("WEATHER_PROVIDER", "open-meteo".into()));
    worker.push(("WEATHER_URL", open_meteo().await));
    let (code, output) = check("worker", &worker).await;
    assert_eq!(code, Some(0), "{output}");
    line(&output, "ok   broker: ");
    line(
        &output,
        "ok   dead letters: the queue ha.dead-letters has no delivery limit",
    );
    let found = line(&output, "ok   database: InfluxDB at ");
    assert!(found.contains(&place.database), "{output}");
    line(&output, "ok   clock: the database and this machine agree");
    let found = line(&output, "ok   weather: open-meteo at http://127.0.0.1:");
    assert!(found.contains("cloudy of Greenwich"), "{output}");

    let wrong = place.amqp_url().replace("guest:guest", "guest:wr0ng");
    let (code, output) = check("worker", &replaced(worker.clone(), "AMQP_URL", &wrong)).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(
        line(&output, "FAIL broker: ").contains("AMQP_URL"),
        "{output}"
    );
    assert!(!output.contains("wr0ng"), "{output}");
    line(&output, "ok   database: ");

    let (code, output) = check("worker", &replaced(worker, "INFLUXDB_BUCKET", "nowhere")).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(
        line(&output, "FAIL database: ").contains("INFLUXDB_BUCKET"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_running_processes() {
    let folder = tempfile::tempdir().unwrap();
    let home = Simulator::start(SimulatorOptions::default()).await.unwrap();
    let worker = vec![
        ("AMQP_URL", format!("amqp://127.0.0.1:{}", free_port())),
        ("SINK", "null".into()),
    ];
    for (name, variables) in [
        ("producer", inline(&home, folder.path())),
        ("worker", worker),
    ] {
        let port = free_port();
        // As in a container: it listens on every address.
        let everywhere = [("ADMIN_ADDR", format!("0.0.0.0:{port}"))];
        let before = run(name, &["healthcheck"], &everywhere).await;
        assert_eq!(before.status.code(), Some(1), "{}", before.output);
        assert!(
            before
                .output
                .contains(&format!("http://127.0.0.1:{port}/healthz")),
            "{}",
            before.output
        );
        let variables = replaced(variables, "ADMIN_ADDR", &everywhere[0].1);
        let process = Process::start(&binary(name), &["run"], &variables);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while run(name, &["healthcheck"], &everywhere).await.status.code() != Some(0) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{}",
                process.output()
            );
        }
        process.stop().await;
    }
    let bad = run("worker", &["healthcheck"], &[("ADMIN_ADDR", "here".into())]).await;
    assert_eq!(bad.status.code(), Some(2), "{}", bad.output);
}
