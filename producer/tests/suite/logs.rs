//! What is logged, changed while the producer runs; and warnings that repeat.

use crate::support::{Files, home, producer, with};
use ha_kit::log_level_changes_while_it_runs;

#[tokio::test]
async fn the_log_level_changes_while_it_runs() {
    let (home, files) = (home().await, Files::new());
    let variables = files.embedded(&home, "inline");
    log_level_changes_while_it_runs(|quiet| producer(&with(variables, &[quiet]))).await;
}

#[tokio::test]
async fn a_warning_for_every_event_is_a_few_lines_and_a_count() {
    let (home, files) = (home().await, Files::new());
    let small = [("EVENT_BYTES_MAX", "1024".to_owned())];
    let process = producer(&with(files.embedded(&home, "inline"), &small));
    process.wait_until_ready().await;
    home.fire(400);
    ha_kit::eventually("all events", async || {
        let status = process.status().await;
        let received = status["events"]["received"].as_u64();
        (received >= Some(home.ledger().fired())).then_some(())
    })
    .await;
    let output = process.stop().await;
    let warning = "an oversized event became a dead letter";
    let (mut lines, mut suppressed) = (0, 0);
    for line in output.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        lines += usize::from(line["message"] == warning);
        if line["message"] == warning || line["line"] == warning {
            suppressed += line["suppressed"].as_u64().unwrap_or_default();
        }
    }
    let dead_letters = files.dead_letters().len();
    assert!(
        dead_letters > 50,
        "about half of a home's events are so large: {dead_letters}"
    );
    // Ten in 30 s; and this takes no longer than the tests' patience.
    assert!((1..=40).contains(&lines), "{output}");
    assert_eq!(lines as u64 + suppressed, dead_letters as u64, "{output}");
}
