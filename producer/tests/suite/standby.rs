//! Two producers of one home at one broker.

use crate::support::{Files, home, missing_or_wrong, producer, wait_until_settled, with, worker};
use ha_kit::{Place, eventually};

#[tokio::test]
async fn a_second_producer_takes_nothing_until_the_first_is_gone() {
    let (home, place) = (home().await, Place::new().await);
    let files = [(); 4].map(|()| Files::new());
    let amqp = [("AMQP_URL", place.amqp_url())];
    let settings = |files: &Files| with(files.variables(&home, "queue"), &amqp);
    let worker = worker(&place);
    worker.wait_until_ready().await;
    let first = producer(&settings(&files[0]));
    first.wait_until_ready().await;

    let second = producer(&settings(&files[1]));
    second
        .wait_until_not_ready(&["instance: another producer", "INSTANCE_NAME \"home\""])
        .await;
    home.fire(200);
    wait_until_settled(&first, &home).await;
    let status = second.status().await;
    assert_eq!(status["events"]["received"], 0, "{status}");
    assert_eq!(status["spool"]["events"], 0, "{status}");
    assert_eq!(home.stats().authentications, 1);
    // Asked to end while it waits, it ends.
    second.stop().await;
    let second = producer(&settings(&files[1]));
    second.wait_until_not_ready(&["another producer"]).await;

    // Another home is another matter.
    let other = [("INSTANCE_NAME", "cabin".to_owned())];
    let cabin = producer(&with(settings(&files[2]), &other));
    cabin.wait_until_ready().await;
    cabin.stop().await;

    let killed = std::process::Command::new("kill")
        .args(["-KILL", &first.pid().to_string()])
        .status();
    assert!(killed.unwrap().success());
    second.wait_until_ready().await;
    home.fire(200);
    eventually("the events that the second received", async || {
        let status = second.status().await;
        (status["events"]["confirmed"] == 200).then_some(())
    })
    .await;
    // Given up in good order, the place is free at once.
    second.stop().await;
    // With files of its own: those of the cabin know since when there is a gap to fill.
    let third = producer(&settings(&files[3]));
    third.wait_until_ready().await;
    third.stop().await;
    eventually("all points", async || {
        (place.count().await == 400).then_some(())
    })
    .await;
    worker.stop().await;
    assert_eq!(missing_or_wrong(&home, &place.points().await), [""; 0]);
}
