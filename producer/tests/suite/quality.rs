//! What the producer says of its run, and the audit that reads it.

use crate::support::{Files, Variables, home, producer, wait_until_settled, with, worker};
use ha_kit::{Place, eventually};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

/// `worker audit` of everything, over the first API, which can be asked.
async fn audit(place: &Place) -> (i32, Value) {
    let binary = Path::new(env!("CARGO_BIN_EXE_producer")).with_file_name("worker");
    let output = tokio::process::Command::new(binary)
        .args(["audit", "--since", "1h", "--json"])
        .env_clear()
        .env("INFLUXDB_URL", place.services.influxdb_url())
        .env("INFLUXDB_API", "v1")
        .env("INFLUXDB_BUCKET", &place.database)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text} {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

/// Rows of `data_quality`: time, then the fields.
async fn records(place: &Place) -> Vec<Value> {
    let statement = "SELECT epoch, sequence_last, received, filtered, settled, lost, capture, score \
                     FROM data_quality";
    let answer = place
        .services
        .query(&place.database, statement)
        .await
        .unwrap();
    let values = answer.pointer("/results/0/series/0/values");
    values.map_or_else(Vec::new, |values| values.as_array().unwrap().clone())
}

async fn the_end_of_a_run_is_known(mode: &str, way: impl Fn(&Place) -> Variables) {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let worker = (mode == "queue").then(|| worker(&place));
    let variables = with(files.variables(&home, mode), &way(&place));
    let more = [
        ("EXCLUDE_DOMAINS", "light".to_owned()),
        ("DATA_QUALITY_INTERVAL_S", "1".into()),
    ];
    let process = producer(&with(variables, &more));
    process.wait_until_ready().await;
    eventually("the record of the beginning", async || {
        let records = records(&place).await;
        records.first().is_some_and(|row| row[2] == 0).then_some(())
    })
    .await;
    home.fire(300);
    wait_until_settled(&process, &home).await;
    // It is of the last record: none again, with the first in which nothing was settled.
    let status = eventually("all that was settled is captured", async || {
        let status = process.status().await;
        (status["quality"]["capture"] == 100.0).then_some(status)
    })
    .await;
    eventually("a record of the 300", async || {
        let records = records(&place).await;
        records
            .iter()
            .any(|row| row[3] == 300 && row[7] == 100.0)
            .then_some(())
    })
    .await;
    let quality = &status["quality"];
    assert!(quality["score"].as_f64().unwrap() > 50.0, "{status:#}");
    assert!(quality["top_rules"].is_array(), "{status:#}");
    home.fire(100);
    process.stop().await;
    let last = eventually("the record of the end", async || {
        let last = records(&place).await.pop()?;
        (last[3] == 400).then_some(last)
    })
    .await;
    let settled = last[2].as_u64().unwrap();
    assert!((1..400).contains(&settled), "{last}");
    assert_eq!(last[5], last[2], "all are settled");
    assert_eq!(
        last[3].as_u64().unwrap() - last[4].as_u64().unwrap(),
        settled
    );
    assert_eq!(last[6], 0, "none is lost");
    eventually("all points", async || {
        (place.points().await.len() as u64 == settled).then_some(())
    })
    .await;
    if let Some(worker) = worker {
        worker.stop().await;
    }

    let (code, report) = audit(&place).await;
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["stored"], settled, "{report:#}");
    // The last event of all: only the record says that it was there.
    let points = place.points().await;
    let newest = points
        .iter()
        .find(|point| point.columns["sequence"] == settled)
        .unwrap();
    let statement = format!(
        "DELETE FROM home_assistant_events WHERE time = {} AND entity_id = '{}'",
        newest.time_ns,
        newest.text("entity_id")
    );
    place
        .services
        .query(&place.database, &statement)
        .await
        .unwrap();
    let (code, report) = audit(&place).await;
    assert_eq!(code, 1, "{report:#}");
    let gap = report.pointer("/epochs/0/gaps/0").unwrap();
    assert_eq!((&gap["first"], &gap["count"]), (&settled.into(), &1.into()));
    assert_eq!(gap["why"], "unexplained");
}

#[tokio::test]
async fn the_end_of_a_run_is_known_through_the_queue() {
    the_end_of_a_run_is_known("queue", |place| vec![("AMQP_URL", place.amqp_url())]).await;
}

#[tokio::test]
async fn the_end_of_a_run_is_known_inline() {
    the_end_of_a_run_is_known("inline", Place::influxdb).await;
}
