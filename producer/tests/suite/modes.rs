//! Every mode stores every event that Home Assistant sent, and a stop loses none.

use crate::support::{
    Files, Variables, home, missing_or_wrong, producer, wait_until_settled, with, worker,
};
use ha_kit::{Place, Process, SOON, Stored, eventually};
use ha_simulator::Simulator;
use std::time::Duration;
use tokio::time::timeout;

/// Runs until the home has fired 1,500 events in 1.5 s and all are settled.
async fn run_through(home: &Simulator, variables: &[(&'static str, String)]) {
    let process = producer(variables);
    process.wait_until_ready().await;
    let firing = home.run_rate(1_000.0, Some(Duration::from_millis(1_500)));
    assert_eq!(timeout(SOON, firing).await.unwrap().unwrap(), 1_500);
    wait_until_settled(&process, home).await;
    process.stop().await;
    assert_eq!(home.ledger().sent(), 1_500);
}

#[track_caller]
fn assert_complete(home: &Simulator, points: &[Stored]) {
    let problems = missing_or_wrong(home, points);
    assert!(
        problems.is_empty(),
        "{} problems: {:#?}",
        problems.len(),
        &problems[..5.min(problems.len())]
    );
}

fn are_enriched(points: &[Stored]) -> bool {
    points
        .iter()
        .all(|point| point.columns.get("enriched") == Some(&true.into()))
}

#[tokio::test]
async fn inline_into_the_embedded_database() {
    let (home, files) = (home().await, Files::new());
    run_through(&home, &files.embedded(&home, "inline")).await;
    let points = files.points();
    assert_complete(&home, &points);
    assert!(are_enriched(&points));
    assert!(points.iter().all(|point| point.text("instance") == "home"));
}

#[tokio::test]
async fn disabled_into_the_embedded_database() {
    let (home, files) = (home().await, Files::new());
    run_through(&home, &files.embedded(&home, "disabled")).await;
    let points = files.points();
    assert_complete(&home, &points);
    assert!(
        points
            .iter()
            .all(|point| !point.columns.contains_key("enriched"))
    );
}

#[tokio::test]
async fn inline_into_influxdb_over_the_second_api() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    run_through(
        &home,
        &with(files.variables(&home, "inline"), &place.influxdb()),
    )
    .await;
    let points = place.points().await;
    assert_complete(&home, &points);
    assert!(are_enriched(&points));
}

#[tokio::test]
async fn inline_into_influxdb_over_the_first_api() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let first: Variables = vec![
        ("INFLUXDB_API", "v1".into()),
        ("INFLUXDB_URL", place.services.influxdb_url()),
        ("INFLUXDB_BUCKET", place.database.clone()),
        ("INSTANCE_NAME", "cabin".into()),
    ];
    run_through(&home, &with(files.variables(&home, "inline"), &first)).await;
    let points = place.points().await;
    assert_complete(&home, &points);
    assert!(points.iter().all(|point| point.text("instance") == "cabin"));
}

/// Stops the producer in the middle of 2,000 events a second.
async fn stop_in_the_middle(home: &Simulator, process: Process) {
    process.wait_until_ready().await;
    let firing = home.run_rate(2_000.0, None);
    eventually("events", async || {
        (home.ledger().sent() > 1_000).then_some(())
    })
    .await;
    let output = process.stop().await;
    assert!(!output.contains("the grace is over"), "{output}");
    firing.abort();
    assert_eq!(home.stats().connections_open, 0);
}

#[tokio::test]
async fn a_term_in_the_middle_of_inline_loses_nothing_that_was_sent() {
    let (home, files) = (home().await, Files::new());
    stop_in_the_middle(&home, producer(&files.embedded(&home, "inline"))).await;
    assert_complete(&home, &files.points());
}

#[tokio::test]
async fn a_term_in_the_middle_of_queue_loses_nothing_that_was_sent() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let variables = with(
        files.variables(&home, "queue"),
        &[("AMQP_URL", place.amqp_url())],
    );
    stop_in_the_middle(&home, producer(&variables)).await;
    let worker = worker(&place);
    eventually("all points", async || {
        let is_done = place.points().await.len() as u64 >= home.ledger().sent();
        (is_done && place.depth("ha.events").await == 0).then_some(())
    })
    .await;
    worker.stop().await;
    assert_complete(&home, &place.points().await);
}

#[tokio::test]
async fn a_filter_counts_what_it_leaves_out() {
    let (home, files) = (home().await, Files::new());
    let filter: Variables = vec![("EXCLUDE_DOMAINS", "sensor".into())];
    let process = producer(&with(files.embedded(&home, "inline"), &filter));
    process.wait_until_ready().await;
    home.fire(500);
    eventually("500 events", async || {
        let status = process.status().await;
        let count = |name: &str| status["events"][name].as_u64().unwrap();
        (count("filtered") + count("confirmed") == 500).then_some(())
    })
    .await;
    let filtered = process.status().await["events"]["filtered"]
        .as_u64()
        .unwrap();
    let (_, metrics) = process.get("/metrics").await;
    process.stop().await;
    let points = files.points();
    assert!(
        filtered > 0 && points.len() as u64 == 500 - filtered,
        "{filtered}"
    );
    assert!(points.iter().all(|point| point.text("domain") != "sensor"));
    let counted: u64 = metrics
        .lines()
        .filter(|line| line.starts_with("ha_ingestor_events_filtered_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(counted, filtered);
}
