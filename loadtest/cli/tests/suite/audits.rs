//! Audits of databases that were tampered with: each must fail, by exactly what was done.

use loadtest_engine::harness::Harness;
use loadtest_engine::progress::Progress;
use loadtest_engine::{drive, verdict};
use loadtest_report::{Report, Verdict};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Place, plan};

const RUN: &str = "--rate 500 --seconds 2";

/// Drives a small run, stops it, lets `tamper` change the database, and reports.
async fn report_after(
    arguments: &str,
    place: &[String],
    tamper: impl AsyncFnOnce(&Harness),
) -> Report {
    let progress = Progress::new();
    let plan = plan(&format!("{arguments} {RUN}"), place);
    let mut harness = Box::pin(Harness::start(plan, |_| ())).await.unwrap();
    let driven = drive::drive(&mut harness, &progress).await.unwrap();
    let exits = harness.stop().await;
    tamper(&harness).await;
    verdict::report("steady", &harness, driven, exits, &progress)
        .await
        .unwrap()
}

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    missing: u64,
    duplicates: u64,
    unexplained: u64,
}

const CLEAN: Counts = Counts {
    missing: 0,
    duplicates: 0,
    unexplained: 0,
};

fn assert_fails(report: &Report, expected: &Counts) {
    let counts = Counts {
        missing: report.missing.unwrap(),
        duplicates: report.duplicates.unwrap(),
        unexplained: report.unexplained.unwrap(),
    };
    assert_eq!(counts, *expected, "{report}");
    let fails = *expected != CLEAN;
    assert_eq!(
        report.verdict,
        if fails { Verdict::Fail } else { Verdict::Pass },
        "{report}"
    );
    assert_eq!(
        report.events_stored,
        Some(report.events_sent - expected.missing),
        "{report}"
    );
}

async fn sqlite(statement: &str) -> Report {
    let arguments = "--mode inline --sink sqlite";
    report_after(arguments, &[], async |harness: &Harness| {
        let database = Connection::open(harness.folder().join("points.db")).unwrap();
        database.execute_batch(statement).unwrap();
    })
    .await
}

#[tokio::test]
async fn an_untouched_file_passes() {
    assert_fails(&sqlite("").await, &CLEAN);
}

#[tokio::test]
async fn a_deleted_row_is_missing() {
    let some = "(SELECT rowid FROM points WHERE measurement = 'home_assistant_events' \
                AND json_extract(fields, '$.state') IS NOT NULL LIMIT 1)";
    let report = sqlite(&format!("DELETE FROM points WHERE rowid = {some}")).await;
    assert_fails(
        &report,
        &Counts {
            missing: 1,
            ..CLEAN
        },
    );
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.starts_with("missing: ")),
        "{report}"
    );
}

#[tokio::test]
async fn another_state_is_missing_and_no_duplicate() {
    let report = sqlite(
        "UPDATE points SET fields = json_set(fields, '$.state', 'made up') WHERE rowid = \
         (SELECT rowid FROM points WHERE json_extract(fields, '$.state') IS NOT NULL LIMIT 1)",
    )
    .await;
    assert_fails(
        &report,
        &Counts {
            missing: 1,
            ..CLEAN
        },
    );
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.starts_with("another state: ")),
        "{report}"
    );
}

#[tokio::test]
async fn a_second_row_with_another_tag_is_a_duplicate() {
    let report = sqlite(
        "INSERT INTO points SELECT measurement, json_set(tags, '$.stray', 'yes'), fields, time_ns \
         FROM points WHERE measurement = 'home_assistant_events' LIMIT 1",
    )
    .await;
    assert_fails(
        &report,
        &Counts {
            duplicates: 1,
            ..CLEAN
        },
    );
}

#[tokio::test]
async fn rows_that_nothing_explains_are_found_at_any_time() {
    let report = sqlite(
        "INSERT INTO points SELECT measurement, tags, fields, 86400000000000 FROM points \
         WHERE measurement = 'home_assistant_events' LIMIT 1;
         INSERT INTO points SELECT measurement, tags, fields, time_ns + 1 FROM points \
         WHERE measurement = 'home_assistant_events' AND time_ns > 86400000000000 LIMIT 1;
         INSERT INTO points SELECT measurement, tags, fields, time_ns + 86400000000000 FROM points \
         WHERE measurement = 'home_assistant_events' AND time_ns > 86400000000000 LIMIT 1",
    )
    .await;
    assert_fails(
        &report,
        &Counts {
            unexplained: 3,
            ..CLEAN
        },
    );
}

/// One stored point that holds a state: entity, device class and time.
async fn some_point(place: &Place) -> (String, i64) {
    let statement = "SELECT state, entity_id FROM home_assistant_events LIMIT 1";
    let answer = place
        .services
        .query(&place.database, statement)
        .await
        .unwrap();
    let row = answer.pointer("/results/0/series/0/values/0").unwrap();
    let entity_id = row
        .pointer("/2")
        .and_then(Value::as_str)
        .unwrap()
        .to_owned();
    (
        entity_id,
        row.pointer("/0").and_then(Value::as_i64).unwrap(),
    )
}

#[tokio::test]
async fn a_deleted_point_is_missing() {
    let place = Place::new().await;
    let arguments = place.arguments("v2");
    let report = report_after("--mode queue", &arguments, async |_: &Harness| {
        let (entity_id, time) = some_point(&place).await;
        let statement = format!(
            "DELETE FROM home_assistant_events WHERE entity_id = '{entity_id}' AND time = {time}"
        );
        place
            .services
            .query(&place.database, &statement)
            .await
            .unwrap();
    })
    .await;
    assert_fails(
        &report,
        &Counts {
            missing: 1,
            ..CLEAN
        },
    );
}

#[tokio::test]
async fn a_second_series_is_a_duplicate() {
    let place = Place::new().await;
    let arguments = place.arguments("v1");
    let report = report_after("--mode disabled", &arguments, async |_: &Harness| {
        let (entity_id, time) = some_point(&place).await;
        let instance = instance_of(&place).await;
        // A tag more and a field only that no state needs: a point anyway.
        let line = format!(
            "home_assistant_events,instance={instance},entity_id={entity_id},stray=yes value=1 {time}"
        );
        let url = format!("{}/write?db={}", place.services.influxdb_url(), place.database);
        let answer = reqwest::Client::new().post(url).body(line).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    })
    .await;
    assert_fails(
        &report,
        &Counts {
            duplicates: 1,
            ..CLEAN
        },
    );
}

async fn instance_of(place: &Place) -> String {
    let statement = "SHOW TAG VALUES FROM home_assistant_events WITH KEY = instance";
    let answer = place
        .services
        .query(&place.database, statement)
        .await
        .unwrap();
    let value = answer.pointer("/results/0/series/0/values/0/1");
    value.and_then(Value::as_str).unwrap().to_owned()
}
