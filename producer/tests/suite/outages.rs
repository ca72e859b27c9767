//! The broker is away, and the producer is killed.

use crate::support::{Files, absent, home, missing_or_wrong, producer, wait_until_settled, with};
use ha_kit::{eventually, free_port};

#[tokio::test]
async fn what_no_broker_takes_waits_in_the_spool_and_another_mode_drains_it() {
    let (home, files) = (home().await, Files::new());
    let nowhere = format!("amqp://guest:guest@127.0.0.1:{}/%2f", free_port());
    let queue = with(files.variables(&home, "queue"), &[("AMQP_URL", nowhere)]);
    let process = producer(&queue);
    eventually("the subscription", async || {
        (!home.stats().subscriptions.is_empty()).then_some(())
    })
    .await;
    home.fire(500);
    eventually("500 events in the spool", async || {
        (process.status().await["spool"]["events"] == 500).then_some(())
    })
    .await;
    process.wait_until_not_ready(&["AMQP_URL"]).await;
    assert_eq!(process.get("/healthz").await.0, 200);
    process.stop().await;

    let process = producer(&files.embedded(&home, "inline"));
    eventually("an empty spool", async || {
        let status = process.status().await;
        (status["events"]["drained"] == 500 && status["spool"]["events"] == 0).then_some(())
    })
    .await;
    process.stop().await;
    assert_eq!(missing_or_wrong(&home, &files.points()), [""; 0]);
}

#[tokio::test]
async fn what_happened_while_the_producer_was_dead_comes_from_history() {
    let (home, files) = (home().await, Files::new());
    let variables = files.embedded(&home, "inline");
    let process = producer(&variables);
    process.wait_until_ready().await;
    home.fire(200);
    wait_until_settled(&process, &home).await;
    home.fire(200);
    process.kill().await;
    home.fire(400);
    assert!(
        absent(&home, &files) >= 400,
        "nobody was there to receive these"
    );

    let process = producer(&variables);
    process.wait_until_ready().await;
    eventually("the gap to be filled", async || {
        (absent(&home, &files) == 0).then_some(())
    })
    .await;
    assert!(process.status().await["events"]["backfilled"].as_u64() >= Some(400));
    process.stop().await;
    assert_eq!(missing_or_wrong(&home, &files.points()), [""; 0]);
}
