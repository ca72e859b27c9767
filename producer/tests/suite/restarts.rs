//! Home Assistant goes away and comes back, ten times.

use crate::support::{Files, home, missing_or_wrong, producer, wait_until_settled};
use ha_kit::eventually;
use std::time::Duration;

#[tokio::test]
async fn after_ten_restarts_there_is_one_connection_with_one_subscription() {
    let (home, files) = (home().await, Files::new());
    let process = producer(&files.embedded(&home, "inline"));
    process.wait_until_ready().await;
    for restart in 0..10_u64 {
        home.fire(20);
        // What a killed connection had not delivered is gap fill's affair, not this test's.
        wait_until_settled(&process, &home).await;
        match restart % 3 {
            0 => home.restart(Duration::from_millis(50)).await.unwrap(),
            1 => home.kill_all(),
            _ => home.close_all_clean().await,
        }
        eventually("a new connection with a subscription", async || {
            let stats = home.stats();
            let one = stats.subscriptions.get("state_changed") == Some(&1);
            (stats.authentications == restart + 2 && one).then_some(())
        })
        .await;
    }
    home.fire(20);
    wait_until_settled(&process, &home).await;
    process.wait_until_ready().await;
    assert_eq!(process.status().await["reconnections"], 10);
    let stats = home.stats();
    assert_eq!(
        (stats.connections_open, stats.authentications),
        (1, 11),
        "{stats:?}"
    );
    assert_eq!(stats.subscriptions["state_changed"], 1);
    assert!(
        stats.subscriptions.values().all(|count| *count == 1),
        "{stats:?}"
    );
    process.stop().await;
    assert_eq!(missing_or_wrong(&home, &files.points()), [""; 0]);
    assert_eq!(home.stats().connections_open, 0);
}
