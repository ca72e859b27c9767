//! `producer import`.

use super::{Variables, binary, run};
use ha_kit::{Place, Process, eventually, free_port};
use std::io::Write as _;
use std::path::Path;

const CAPTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/home-assistant-2024.3.3.jsonl"
);

fn sqlite(folder: &Path) -> Variables {
    let database = folder.join("points.db").display().to_string();
    vec![("SQLITE_PATH", database), ("SQLITE_RETENTION", "0".into())]
}

/// Every point, whole.
fn dump(folder: &Path) -> Vec<(String, String, String, i64)> {
    let database = rusqlite::Connection::open(folder.join("points.db")).unwrap();
    let query =
        "SELECT measurement, tags, fields, time_ns FROM points ORDER BY time_ns, tags, measurement";
    let mut statement = database.prepare(query).unwrap();
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

async fn import(file: &str, variables: &[(&'static str, String)]) -> (Option<i32>, String) {
    let ended = run("producer", &["import", "--jsonl", file], variables).await;
    (ended.status.code(), ended.output)
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_twice_changes_nothing_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let (code, output) = import(CAPTURE, &sqlite(folder.path())).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.contains("imported 3000 events from 3000 lines"),
        "{output}"
    );
    let first = dump(folder.path());
    assert!(first.len() > 2_900, "{}", first.len());
    assert!(
        first
            .iter()
            .all(|(_, _, fields, _)| fields.contains(r#""origin":"import""#))
    );
    let (code, output) = import(CAPTURE, &sqlite(folder.path())).await;
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(dump(folder.path()), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_twice_changes_nothing_in_influxdb_by_every_way() {
    let (direct, by_queue) = (Place::new().await, Place::new().await);
    let (code, output) = import(CAPTURE, &direct.influxdb()).await;
    assert_eq!(code, Some(0), "{output}");
    let first = direct.points().await;
    assert!(first.len() > 2_900, "{}", first.len());
    let (code, output) = import(CAPTURE, &direct.influxdb()).await;
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(direct.points().await, first);

    // The database is the workers' affair in this mode: none is set.
    let queue = [
        ("ENRICHMENT_MODE", "queue".into()),
        ("AMQP_URL", by_queue.amqp_url()),
    ];
    let mut worker = by_queue.influxdb();
    worker.push(("AMQP_URL", by_queue.amqp_url()));
    let worker = Process::start(&binary("worker"), &["run"], &worker);
    for _ in 0..2 {
        let (code, output) = import(CAPTURE, &queue).await;
        assert_eq!(code, Some(0), "{output}");
    }
    eventually("the worker's points", async || {
        (by_queue.points().await.len() == first.len()).then_some(())
    })
    .await;
    worker.stop().await;
    assert_eq!(
        by_queue.points().await,
        first,
        "the same points by the other way"
    );

    let (by_service, port) = (Place::new().await, free_port());
    let service = [
        ("ENRICHMENT_MODE", "service".into()),
        ("ENRICHMENT_SERVICE_URL", format!("http://127.0.0.1:{port}")),
    ];
    let dead_letters = tempfile::tempdir().unwrap();
    let mut worker = by_service.influxdb();
    worker.extend([
        ("INTAKE_ADDR", format!("127.0.0.1:{port}")),
        (
            "SPOOL_PATH",
            dead_letters.path().join("spool.db").display().to_string(),
        ),
    ]);
    let worker = Process::start(&binary("worker"), &["run"], &worker);
    let (code, output) = import(CAPTURE, &service).await;
    assert_eq!(code, Some(0), "{output}");
    // Each answer came after the write.
    assert_eq!(by_service.points().await, first);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_reported_by_number_and_the_rest_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let capture = std::fs::read_to_string(CAPTURE).unwrap();
    let messages: Vec<&str> = capture.lines().take(5).collect();
    let event = |message: &str| {
        serde_json::from_str::<serde_json::Value>(message).unwrap()["event"].to_string()
    };
    let mut lines = vec![
        messages[0].to_owned(),
        "not json".to_owned(),
        event(messages[1]),
        String::new(),
        format!("[{},{}]", messages[2], messages[3]),
        r#"{"id":7,"type":"result","success":true,"result":null}"#.to_owned(),
        messages[4][..200].to_owned(),
        event(messages[4]).replace("2026-", "yesterday-"),
        format!("[{}, 7]", messages[4]),
        r#"{"a":1}"#.to_owned(),
    ];
    lines.extend((0..30).map(|_| "rubbish".to_owned()));
    let file = folder.path().join("mixed.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let (code, output) = import(file.to_str().unwrap(), &sqlite(folder.path())).await;
    assert_eq!(code, Some(1), "{output}");
    for line in [
        "line 2: ",
        "line 7: EOF",
        "line 8: ",
        "line 9: neither",
        "line 10: neither",
        "line 11: ",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
    assert!(!output.contains("line 26: "), "twenty are enough: {output}");
    assert!(output.contains("… and 15 more bad lines"), "{output}");
    assert!(
        output.contains("imported 5 events from 40 lines"),
        "{output}"
    );
    assert!(
        output.contains("1 messages without an event, 35 bad"),
        "{output}"
    );
    assert_eq!(dump(folder.path()).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_and_points_that_the_database_refuses_are_named_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut variables = sqlite(folder.path());
    variables.push(("INCLUDE_DOMAINS", "cover".into()));
    let (code, output) = import(CAPTURE, &variables).await;
    assert_eq!(code, Some(0), "{output}");
    let points = dump(folder.path());
    assert!(
        points
            .iter()
            .all(|(_, tags, _, _)| tags.contains(r#""cover"#))
    );

    // The type of a field cannot change: the database refuses the point, for good. It looks no
    // further than the same week, so the other type stands at the capture's time, not at today's.
    let time_ns = points[0].3;
    let place = Place::new().await;
    let url = format!(
        "{}/write?db={}",
        place.services.influxdb_url(),
        place.database
    );
    let conflict = format!("home_assistant_events,entity_id=x state=7 {time_ns}");
    let written = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(url)
        .body(conflict);
    assert!(written.send().await.unwrap().status().is_success());
    let one = folder.path().join("one.jsonl");
    let first = std::fs::read_to_string(CAPTURE)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    std::fs::write(&one, format!("\n{first}\n")).unwrap();
    let (code, output) = import(one.to_str().unwrap(), &place.influxdb()).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("line 2: ") && output.contains("type conflict"),
        "{output}"
    );
    assert!(
        output.contains("imported 0 events from 2 lines"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.jsonl");
    let capture = std::fs::read(CAPTURE).unwrap();
    let mut file = std::fs::File::create(&path).unwrap();
    (0..80).for_each(|_| file.write_all(&capture).unwrap());
    drop(file);
    let variables = [("SINK", "null".into())];
    let arguments = ["import", "--jsonl", path.to_str().unwrap()];
    let process = Process::start(&binary("producer"), &arguments, &variables);
    let status = format!("/proc/{}/status", process.pid());
    let mut peak_kb = 0;
    // The kernel keeps the highest value; it is gone with the process.
    while let Some(now_kb) = resident_high_kb(&status) {
        peak_kb = peak_kb.max(now_kb);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let ended = process.ended().await;
    println!(
        "{} MiB file, {peak_kb} kB at the peak: {}",
        (80 * capture.len()) >> 20,
        ended.output
    );
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    assert!(
        ended.output.contains("imported 240000 events"),
        "{}",
        ended.output
    );
    assert!(peak_kb > 0 && peak_kb < 120 * 1_024, "{peak_kb} kB");
}

fn resident_high_kb(status: &str) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_says_how_far_it_came() {
    let port = free_port();
    let url = format!("amqp://guest:guest@127.0.0.1:{port}");
    let variables = [("ENRICHMENT_MODE", "queue".into()), ("AMQP_URL", url)];
    let process = Process::start(
        &binary("producer"),
        &["import", "--jsonl", CAPTURE],
        &variables,
    );
    // Nobody takes its batches; it reads ahead as far as it may.
    eventually("a word of it", async || {
        process.output().contains("0 events imported").then_some(())
    })
    .await;
    process.terminate();
    let ended = process.ended().await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert!(
        ended.output.contains("interrupted after line"),
        "{}",
        ended.output
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_asked_for_as_far_as_they_are_used() {
    let ended = run(
        "producer",
        &["import", "--jsonl", "/no/such/file"],
        &[("ENRICHMENT_MODE", "queue".into())],
    )
    .await;
    assert_eq!(ended.status.code(), Some(2), "{}", ended.output);
    assert!(
        ended.output.contains("--jsonl") && ended.output.contains("AMQP_URL"),
        "{}",
        ended.output
    );
    assert!(!ended.output.contains("HOME_ASSISTANT"), "{}", ended.output);
}
