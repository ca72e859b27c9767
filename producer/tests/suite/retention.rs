//! What the embedded database keeps: the setting, what is said of it, and what is deleted.

use crate::commands::run;
use crate::support::{Files, Variables, producer, with};
use ha_kit::{Process, eventually, free_port, settings_are_refused};
use rusqlite::Connection;
use std::time::{SystemTime, UNIX_EPOCH};

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_nanos()).unwrap()
}

/// A producer with the default retention, whose home does not answer: what is in the file stays as
/// the test has put it there.
fn variables(files: &Files) -> Variables {
    vec![
        (
            "HOME_ASSISTANT_URL",
            format!("http://127.0.0.1:{}", free_port()),
        ),
        ("HOME_ASSISTANT_TOKEN", "a-token".into()),
        ("SPOOL_PATH", files.spool().display().to_string()),
        ("SQLITE_PATH", files.database().display().to_string()),
        ("DATA_QUALITY_INTERVAL_S", "1".into()),
    ]
}

async fn check(files: &Files) -> String {
    run("producer", &["check"], &variables(files)).await.output
}

fn insert(files: &Files, times_ns: impl Iterator<Item = i64>) {
    let mut database = Connection::open(files.database()).unwrap();
    let transaction = database.transaction().unwrap();
    for time_ns in times_ns {
        let sql = "INSERT INTO points VALUES ('home_assistant_events', '{}', '{}', ?1)";
        transaction.execute(sql, [time_ns]).unwrap();
    }
    transaction.commit().unwrap();
}

fn count(files: &Files, measurement: &str) -> i64 {
    let database = Connection::open(files.database()).unwrap();
    let sql = "SELECT count(*) FROM points WHERE measurement = ?1";
    database
        .query_row(sql, [measurement], |row| row.get(0))
        .unwrap()
}

/// The first log line with this text.
async fn line(process: &Process, text: &str) -> String {
    eventually(text, async || {
        let output = process.output();
        let mut lines = output.lines();
        lines.find(|line| line.contains(text)).map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn a_retention_without_a_unit_is_refused_with_all_other_problems() {
    let files = Files::new();
    check(&files).await;
    insert(&files, (1..=100).map(|hour| now_ns() - hour * HOUR_NS));
    for command in ["run", "check"] {
        let bad = [
            ("SQLITE_RETENTION", "30".to_owned()),
            ("BATCH_POINTS_MAX", "many".to_owned()),
            ("ADMIN_ADDR", "here".to_owned()),
        ];
        let process = Process::start(
            &crate::commands::binary("producer"),
            &[command],
            &with(variables(&files), &bad),
        );
        let said = [
            "3 settings must change",
            "SQLITE_RETENTION: \"30\" is not valid",
            "such as 12h, 30d",
            "BATCH_POINTS_MAX: \"many\"",
            "ADMIN_ADDR: \"here\"",
        ];
        settings_are_refused(process, &said, "a-token").await;
    }
    let alone = with(variables(&files), &[("SQLITE_RETENTION", "30".into())]);
    let said = ["1 setting must change", "SQLITE_RETENTION: \"30\""];
    settings_are_refused(producer(&alone), &said, "a-token").await;
    assert_eq!(count(&files, "home_assistant_events"), 100);
}

#[tokio::test]
async fn what_will_be_deleted_is_said_and_goes_in_bounded_passes() {
    let files = Files::new();
    let output = check(&files).await;
    let kept = "retention: points are kept for 30 days (SQLITE_RETENTION): ";
    assert!(
        output.contains(&format!("ok   {kept}no event is stored yet")),
        "{output}"
    );
    insert(
        &files,
        (1..=12_000).map(|age| now_ns() - 40 * DAY_NS - age * 1_000),
    );
    insert(&files, [now_ns() - HOUR_NS].into_iter());
    let output = check(&files).await;
    assert!(
        output.contains(&format!("warn {kept}12000 of 12001 are older than ")),
        "{output}"
    );
    assert!(
        output.contains("at most 10000 every 10 minutes"),
        "{output}"
    );
    assert_eq!(
        count(&files, "home_assistant_events"),
        12_001,
        "a look deletes nothing"
    );

    let process = producer(&variables(&files));
    let said = line(&process, "points are kept for 30 days").await;
    assert!(said.contains("12000 of 12001 are older than "), "{said}");
    let said = line(&process, "deleted points that are older").await;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["level"], &said["points"], &said["older_left"]),
        (&"INFO".into(), &10_000.into(), &2_000.into()),
        "{said}"
    );
    assert!(said["older_than"].as_str().is_some(), "{said}");
    let output = process.stop().await;
    assert_eq!(count(&files, "home_assistant_events"), 2_001, "{output}");

    // The next pass: here that of the next start.
    let process = producer(&variables(&files));
    line(&process, "deleted points that are older").await;
    process.stop().await;
    assert_eq!(count(&files, "home_assistant_events"), 1);
}

#[tokio::test]
async fn events_that_end_long_before_this_clock_are_kept() {
    let files = Files::new();
    check(&files).await;
    // As with a clock that is 50 days ahead.
    insert(
        &files,
        (0..100).map(|hour| now_ns() - 50 * DAY_NS - hour * HOUR_NS),
    );
    let mut records = 0;
    // The records of the first run are dated by the clock, and the second run meets them.
    for _ in 0..2 {
        let process = producer(&variables(&files));
        let said = line(&process, "points are kept for 30 days").await;
        assert!(
            said.contains("none of ") && said.contains("the retention counts back from it"),
            "{said}"
        );
        eventually("records of this run", async || {
            (count(&files, "data_quality") >= records + 2).then_some(())
        })
        .await;
        let output = process.stop().await;
        assert!(!output.contains("deleted points"), "{output}");
        assert_eq!(count(&files, "home_assistant_events"), 100, "{output}");
        records = count(&files, "data_quality");
    }
}
