//! Looking, exporting, discarding, restoring.

use super::support::{Place, bad_dead_letter, exists, good_dead_letter};
use ha_pipeline::DeadLetter;
use serde_json::Value;

fn ids(dead_letters: &[Value]) -> Vec<String> {
    dead_letters
        .iter()
        .map(|dead_letter| dead_letter["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_dead_letters_are_listed_grouped_and_shown_and_stay_as_they_are() {
    let place = Place::new().await;
    let mut dead_letters: Vec<_> = (1..=1_900).map(good_dead_letter).collect();
    dead_letters.extend((1_901..=1_999).map(bad_dead_letter));
    dead_letters.push(DeadLetter::undecodable(
        b"rubbish\x00".as_slice().into(),
        &"not a batch",
    ));
    place.publish_dead_letters(dead_letters).await;

    let first = place.list(&[]).await;
    let second = place.list(&[]).await;
    assert_eq!(first.len(), 2_000);
    assert!(
        ids(&first) == ids(&second),
        "the same dead letters in the same order"
    );
    assert_eq!(place.depth().await, 2_000);
    assert_eq!(first[0]["sequence"], 1);
    assert_eq!(first[0]["entity"], "sensor.s1");
    assert_eq!(second[0]["delivery_count"], 1, "the broker counts looks");

    assert_eq!(place.list(&["--reason", "invalid_event"]).await.len(), 99);
    assert_eq!(place.list(&["--entity", "sensor.s[12]"]).await.len(), 380);
    assert_eq!(place.list(&["--instance", "elsewhere"]).await.len(), 0);
    assert_eq!(
        place.list(&["--since", "1h", "--limit", "7"]).await.len(),
        7
    );
    assert_eq!(
        place.list(&["--since", "2100-01-01T00:00:00Z"]).await.len(),
        0
    );

    let groups = place.list(&["--group"]).await;
    let counts: Vec<_> = groups
        .iter()
        .map(|group| group["letters"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [1_900, 99, 1]);
    let fingerprint = groups[1]["fingerprint"].as_str().unwrap();
    assert_eq!(place.list(&["--fingerprint", fingerprint]).await.len(), 99);

    let table = place.run(&["dlq", "list", "--limit", "3"]).await;
    assert!(table.text.starts_with("FAILED (UTC)"), "{}", table.text);
    assert!(table.text.ends_with("3 dead letters\n"), "{}", table.text);

    let id = first[0]["id"].as_str().unwrap();
    let shown = place.run(&["dlq", "show", &id[id.len() - 12..]]).await;
    assert_eq!(shown.code, 0, "{}", shown.error);
    assert!(
        shown.text.contains("\"entity_id\": \"sensor.s1\""),
        "{}",
        shown.text
    );
    assert!(
        shown
            .text
            .contains("today it becomes a point\nhome_assistant_events,"),
        "{}",
        shown.text
    );
    // Dead letters that are published together come in any order.
    let rubbish = |dead_letter: &&Value| dead_letter["reason"] == "undecodable";
    let rubbish = first.iter().find(rubbish).unwrap()["id"].as_str().unwrap();
    let shown = place.run(&["dlq", "show", rubbish]).await;
    assert!(shown.text.contains("rubbish\\x00"), "{}", shown.text);
    assert!(
        shown.text.contains("today it fails again: undecodable"),
        "{}",
        shown.text
    );
    assert_eq!(place.run(&["dlq", "show", "0123456789ab"]).await.code, 1);

    let dry = place.run(&["dlq", "replay", "--dry-run"]).await;
    assert!(
        dry.text
            .contains("1,900 dead letters would become points, 100 dead letters would fail again")
    );
    assert_eq!(place.depth().await, 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_the_broker_wrote_say_why() {
    let place = Place::new().await;
    // A suspect that is refused for the last time goes where the delivery limit sends it.
    let batch = super::support::encoded(vec![super::support::envelope(1, "{}")]);
    let message = ha_broker::Outgoing {
        exchange: "",
        routing_key: ha_broker::topology::SUSPECTS_QUEUE.into(),
        payload: batch.into(),
        content_type: ha_batch::CONTENT_TYPE,
        headers: Vec::new(),
    };
    place.publisher.publish(message).await.unwrap();
    for _ in 0..4 {
        let options = ha_broker::SubscriptionOptions {
            queue: ha_broker::topology::SUSPECTS_QUEUE,
            prefetch_messages: 1,
            consumer_tag: "test".into(),
        };
        let broker = std::sync::Arc::clone(&place.broker);
        let mut subscription = ha_broker::Subscription::open(broker, &options)
            .await
            .unwrap();
        subscription.next().await.unwrap().unwrap();
        subscription.close().await.unwrap();
    }
    place.until_depth(1).await;
    let dead_letters = place.list(&[]).await;
    assert_eq!(dead_letters[0]["reason"], "poison");
    assert_eq!(dead_letters[0]["stage"], "broker");
    assert!(
        dead_letters[0]["error"]
            .as_str()
            .unwrap()
            .contains("ha.suspects")
    );
    assert_eq!(dead_letters[0]["fingerprint"].as_str().unwrap().len(), 16);
    assert_eq!(
        place
            .list(&["--reason", "poison", "--since", "5m"])
            .await
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_and_discarded_comes_back_as_it_was() {
    let place = Place::new().await;
    let mut dead_letters: Vec<_> = (1..=300).map(good_dead_letter).collect();
    dead_letters.extend((301..=320).map(bad_dead_letter));
    place.publish_dead_letters(dead_letters).await;
    let before = place.list(&[]).await;

    let all = place.file("all.jsonl");
    let ran = place.run(&["dlq", "export", &all]).await;
    assert_eq!(ran.code, 0, "{}", ran.error);
    assert!(
        ran.text.starts_with("exported 320 dead letters"),
        "{}",
        ran.text
    );
    assert_eq!(place.depth().await, 320, "an export takes nothing");
    let again = place.run(&["dlq", "export", &all]).await;
    assert_eq!(again.code, 1, "an export is never overwritten");

    let good = place.file("good.jsonl");
    let without = place.run(&["dlq", "discard", "--yes"]).await;
    assert_eq!(without.code, 2, "a discard needs a file: {}", without.error);
    let unasked = place.run(&["dlq", "discard", "--export", &good]).await;
    assert_eq!(unasked.code, 2, "there is nobody to ask: {}", unasked.error);
    assert!(!exists(&good));
    let some = [
        "dlq",
        "discard",
        "--reason",
        "sink_rejected",
        "--export",
        &good,
        "--yes",
    ];
    let ran = place.run(&some).await;
    assert_eq!(ran.code, 0, "{}", ran.error);
    assert_eq!(place.depth().await, 20);
    assert_eq!(std::fs::read_to_string(&good).unwrap().lines().count(), 300);

    let ran = place.run(&["dlq", "restore", &good]).await;
    assert_eq!(ran.code, 0, "{}", ran.error);
    assert_eq!(ran.text, "restored 300 dead letters\n");
    let mut after = place.list(&[]).await;
    assert_eq!(after.len(), 320);
    let mut before = before;
    for dead_letter in before.iter_mut().chain(&mut after) {
        dead_letter
            .as_object_mut()
            .unwrap()
            .remove("delivery_count");
    }
    let key = |dead_letter: &Value| dead_letter["id"].to_string();
    before.sort_by_key(key);
    after.sort_by_key(key);
    assert_eq!(before, after);

    std::fs::write(place.file("bad.jsonl"), "{}\n").unwrap();
    let bad = place
        .run(&["dlq", "restore", &place.file("bad.jsonl")])
        .await;
    assert_eq!(bad.code, 1);
    assert!(bad.error.contains("line 1"), "{}", bad.error);
}
