//! Dead letters of a producer without a broker.

use super::support::{Place, bad_dead_letter, encoded, envelope, event, good_dead_letter};
use ha_dead_letters::SpoolDeadLetters;
use ha_pipeline::DeadLetterStore;
use ha_spool::{Spool, SpoolOptions};
use serde_json::Value;

async fn open(path: &str) -> Spool {
    Spool::open(SpoolOptions::new(path, 1 << 30))
        .await
        .unwrap()
        .spool
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_commands_work_on_a_spool() {
    let place = Place::new().await;
    let path = place.file("spool.db");
    let spool = open(&path).await;
    let dead_letters = (1..=600)
        .map(good_dead_letter)
        .chain((601..=610).map(bad_dead_letter))
        .collect();
    SpoolDeadLetters::new(spool.clone())
        .deliver(dead_letters)
        .await;
    let with = ["--spool-path", path.as_str()];
    let busy = place.run(&["dlq", "list", with[0], with[1]]).await;
    assert_eq!(busy.code, 1);
    assert!(
        busy.error.contains("open in another process"),
        "{}",
        busy.error
    );
    spool.close().await;

    let listed = place.list(&with).await;
    assert_eq!(listed.len(), 610);
    assert_eq!(place.list(&[with[0], with[1], "--group"]).await.len(), 2);
    assert_eq!(listed.len(), place.list(&with).await.len());

    let file = place.file("bad.jsonl");
    let discard = [
        "dlq",
        "discard",
        "--reason",
        "invalid_event",
        "--export",
        &file,
        "--yes",
        with[0],
        with[1],
    ];
    assert_eq!(place.run(&discard).await.code, 0);
    assert_eq!(place.list(&with).await.len(), 600);
    for _ in 0..2 {
        let restored = place
            .run(&["dlq", "restore", &file, with[0], with[1]])
            .await;
        assert_eq!(restored.code, 0, "{}", restored.error);
        assert_eq!(
            place.list(&with).await.len(),
            610,
            "restored twice is there once"
        );
    }

    let ran = place
        .run(&["dlq", "replay", "--yes", "--limit", "5", with[0], with[1]])
        .await;
    assert_eq!(ran.code, 0, "{}", ran.error);
    assert!(
        ran.text
            .contains("replayed 5 dead letters\nthey are in the spool"),
        "{}",
        ran.text
    );
    let spool = open(&path).await;
    assert_eq!(
        (spool.stats().batches, spool.stats().dead_letters),
        (5, 605)
    );
    let batches = spool.oldest(0, 10, 1 << 20).await.unwrap();
    let batch = ha_batch::decode(&batches[0].batch.payload).unwrap();
    assert_eq!(
        batch.replay.unwrap().count,
        1,
        "the batch carries what headers carry at the broker"
    );
    assert_eq!(batch.envelopes[0].sequence, Some(1));
    spool.close().await;

    let shown: Value = {
        let id = listed[0]["id"].as_str().unwrap();
        let gone = place
            .run(&["dlq", "show", id, "--json", with[0], with[1]])
            .await;
        assert_eq!(gone.code, 1, "the first dead letter was replayed");
        let id = listed[7]["id"].as_str().unwrap();
        let ran = place
            .run(&["dlq", "show", id, "--json", with[0], with[1]])
            .await;
        serde_json::from_str(&ran.text).unwrap()
    };
    assert_eq!(shown["today"], "becomes a point");
    assert_eq!(shown["contents"][0]["data"]["entity_id"], "sensor.s8");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_spool_is_not_made() {
    let place = Place::new().await;
    let path = place.file("none.db");
    let ran = place.run(&["dlq", "list", "--spool-path", &path]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.error.contains("there is no spool"), "{}", ran.error);
    assert!(!super::support::exists(&path));
    // Batches of the same events as the dead letters': what the tests send is what a producer sends.
    let json = event("sensor.a", 1);
    assert!(ha_batch::decode(&encoded(vec![envelope(1, &json)])).is_ok());
}
