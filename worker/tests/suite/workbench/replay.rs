//! Letters on their way again.

use super::support::{Place, Ran, Running, bad_letter, good_letter, until};
use ha_pipeline::Letter;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_replay_loses_nothing_and_the_next_one_goes_on() {
    const LETTERS: u64 = 2_000;
    let place = Place::new().await;
    place
        .publish_letters((1..=LETTERS).map(good_letter).collect())
        .await;
    let _worker = place.start_worker();

    let mut replay = Running(
        place
            .command(&["dlq", "replay", "--yes", "--rate", "1000"])
            .spawn()
            .unwrap(),
    );
    until("some points", || async { place.points().await > 100 }).await;
    let pid = replay.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    until("its end", || {
        let ended = replay.0.try_wait().unwrap();
        async move { ended.is_some() }
    })
    .await;
    let mut text = String::new();
    std::io::Read::read_to_string(replay.0.stdout.as_mut().unwrap(), &mut text).unwrap();
    assert!(text.contains("interrupted"), "{text}");

    until("the queue is worked off", || async {
        place.waiting().await == 0
    })
    .await;
    let left = u64::from(place.depth().await);
    assert!(
        left > 0 && left < LETTERS,
        "{left} letters left: it was not interrupted in its middle"
    );
    assert_eq!(
        text.lines().next().unwrap(),
        format!("replayed {} letters", grouped(LETTERS - left))
    );
    place.until_points(LETTERS - left).await;
    assert_eq!(
        place.points().await + left,
        LETTERS,
        "points and letters account for all"
    );

    let ran = place.run(&["dlq", "replay", "--yes"]).await;
    assert_eq!(ran.code, 0, "{}", ran.error);
    place.until_points(LETTERS).await;
    assert_eq!(place.depth().await, 0);
    assert_eq!(place.points().await, LETTERS);
}

fn grouped(count: u64) -> String {
    if count < 1_000 {
        count.to_string()
    } else {
        format!("{},{:03}", count / 1_000, count % 1_000)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_fails_again_is_counted_and_ends_the_replay() {
    let place = Place::new().await;
    let rubbish = Letter::undecodable(b"rubbish".as_slice().into(), &"not a frame");
    place
        .publish_letters(vec![bad_letter(1), good_letter(2), rubbish])
        .await;
    let first = place.list(&["--reason", "invalid_event"]).await[0].clone();
    let _worker = place.start_worker();
    for replays in 1..=2 {
        let ran = place.run(&["dlq", "replay", "--yes"]).await;
        assert_eq!(ran.code, 0, "{} {}", ran.text, ran.error);
        // Those that come back while it runs are behind those that were there.
        let count = if replays == 1 { 3 } else { 2 };
        assert!(
            ran.text.starts_with(&format!("replayed {count} letters")),
            "{}",
            ran.text
        );
        place.until_depth(2).await;
        let letters = place.list(&[]).await;
        for letter in &letters {
            assert_eq!(letter["replays"], replays, "{letter}");
            assert_eq!(letter["attempts"], replays + 1);
            assert_ne!(letter["first_failed_at"], letter["failed_at"]);
        }
        let again = letters
            .iter()
            .find(|letter| letter["id"] == first["id"])
            .unwrap();
        assert_eq!(again["first_failed_at"], first["first_failed_at"]);
        assert_eq!(again["fingerprint"].as_str().unwrap().len(), 16);
    }
    place.until_points(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_filters_hold_and_a_question_needs_a_terminal() {
    let place = Place::new().await;
    place
        .publish_letters((1..=50).map(good_letter).collect())
        .await;
    let unasked = place.run(&["dlq", "replay"]).await;
    assert_eq!(unasked.code, 2, "{}", unasked.error);
    let Ran { code, text, error } = place
        .run(&[
            "dlq",
            "replay",
            "--yes",
            "--entity",
            "sensor.s3",
            "--limit",
            "4",
        ])
        .await;
    assert_eq!(
        (code, text.as_str()),
        (0, "replayed 4 letters\n"),
        "{error}"
    );
    assert_eq!(place.depth().await, 46);
    assert_eq!(place.waiting().await, 4);
    assert_eq!(place.list(&["--entity", "sensor.s3"]).await.len(), 1);
    let bad = place
        .run(&["dlq", "list", "--reason", "unlucky", "--since", "yesterday"])
        .await;
    assert_eq!(bad.code, 2);
    assert!(
        bad.error.contains("2 settings must change"),
        "{}",
        bad.error
    );
}
