//! Dead letters on their way again.

use super::support::{Place, Ran, Running, bad_dead_letter, good_dead_letter, until};
use ha_pipeline::DeadLetter;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_replay_loses_nothing_and_the_next_one_goes_on() {
    const DEAD_LETTERS: u64 = 2_000;
    let place = Place::new().await;
    place
        .publish_dead_letters((1..=DEAD_LETTERS).map(good_dead_letter).collect())
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
        left > 0 && left < DEAD_LETTERS,
        "{left} dead letters left: it was not interrupted in its middle"
    );
    assert_eq!(
        text.lines().next().unwrap(),
        format!("replayed {} dead letters", grouped(DEAD_LETTERS - left))
    );
    place.until_points(DEAD_LETTERS - left).await;
    assert_eq!(
        place.points().await + left,
        DEAD_LETTERS,
        "points and dead letters account for all"
    );

    let ran = place.run(&["dlq", "replay", "--yes"]).await;
    assert_eq!(ran.code, 0, "{}", ran.error);
    place.until_points(DEAD_LETTERS).await;
    assert_eq!(place.depth().await, 0);
    assert_eq!(place.points().await, DEAD_LETTERS);
}

fn grouped(count: u64) -> String {
    if count < 1_000 {
        count.to_string()
    } else {
        format!("{},{:03}", count / 1_000, count % 1_000)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_fails_again_is_counted_and_ends_the_replay() {
    let place = Place::new().await;
    let rubbish = DeadLetter::undecodable(b"rubbish".as_slice().into(), &"not a batch");
    place
        .publish_dead_letters(vec![bad_dead_letter(1), good_dead_letter(2), rubbish])
        .await;
    let first = place.list(&["--reason", "invalid_event"]).await[0].clone();
    let _worker = place.start_worker();
    for replays in 1..=2 {
        let ran = place.run(&["dlq", "replay", "--yes"]).await;
        assert_eq!(ran.code, 0, "{} {}", ran.text, ran.error);
        // Those that come back while it runs are behind those that were there.
        let count = if replays == 1 { 3 } else { 2 };
        assert!(
            ran.text
                .starts_with(&format!("replayed {count} dead letters")),
            "{}",
            ran.text
        );
        place.until_depth(2).await;
        let dead_letters = place.list(&[]).await;
        for dead_letter in &dead_letters {
            assert_eq!(dead_letter["replays"], replays, "{dead_letter}");
            assert_eq!(dead_letter["attempts"], replays + 1);
            assert_ne!(dead_letter["first_failed_at"], dead_letter["failed_at"]);
        }
        let again = dead_letters
            .iter()
            .find(|dead_letter| dead_letter["id"] == first["id"])
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
        .publish_dead_letters((1..=50).map(good_dead_letter).collect())
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
        (0, "replayed 4 dead letters\n"),
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
