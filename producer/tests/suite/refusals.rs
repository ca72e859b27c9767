//! Settings and neighbours that are wrong: what the user is told.

use crate::support::{Files, home, producer, with};
use ha_kit::{
    an_admin_address_in_use_ends_the_start, free_port, no_broker_at_the_address_is_said,
    settings_are_refused,
};

const SECRET: &str = "s3cret-that-never-shows";

#[tokio::test]
async fn a_wrong_token_is_said_with_its_remedy_and_never_shown() {
    let (home, files) = (home().await, Files::new());
    let wrong = [("HOME_ASSISTANT_TOKEN", SECRET.to_owned())];
    let process = producer(&with(files.embedded(&home, "inline"), &wrong));
    let said = process
        .wait_until_not_ready(&["HOME_ASSISTANT_TOKEN", "long-lived"])
        .await;
    let (_, status) = process.get("/status").await;
    let (_, metrics) = process.get("/metrics").await;
    assert_eq!(process.get("/healthz").await.0, 200);
    let output = process.stop().await;
    for text in [&said, &status, &metrics, &output] {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert!(
        home.stats().auth_failures <= 2,
        "retried slowly: Home Assistant bans addresses"
    );
}

#[tokio::test]
async fn no_home_at_the_address_is_said_with_its_setting() {
    let (home, files) = (home().await, Files::new());
    let port = free_port();
    let nowhere = [("HOME_ASSISTANT_URL", format!("http://127.0.0.1:{port}"))];
    let process = producer(&with(files.embedded(&home, "inline"), &nowhere));
    process
        .wait_until_not_ready(&["home_assistant", "cannot connect"])
        .await;
    let said = process.get("/readyz").await.1;
    process.stop().await;
    assert!(
        said.contains("HOME_ASSISTANT_URL") && said.contains(&port.to_string()),
        "{said}"
    );
}

#[tokio::test]
async fn no_broker_at_the_address_is_said_and_never_the_password() {
    let (home, files) = (home().await, Files::new());
    no_broker_at_the_address_is_said(|url| {
        producer(&with(files.variables(&home, "queue"), &[url]))
    })
    .await;
}

#[tokio::test]
async fn no_database_at_the_address_is_said_and_events_are_kept() {
    let (home, files) = (home().await, Files::new());
    let port = free_port();
    let nowhere = [
        ("INFLUXDB_URL", format!("http://127.0.0.1:{port}")),
        ("INFLUXDB_TOKEN", SECRET.to_owned()),
        ("SHUTDOWN_GRACE_S", "2".into()),
    ];
    let process = producer(&with(files.variables(&home, "inline"), &nowhere));
    ha_kit::eventually("a subscription", async || {
        home.stats()
            .subscriptions
            .contains_key("state_changed")
            .then_some(())
    })
    .await;
    home.fire(300);
    process
        .wait_until_not_ready(&["INFLUXDB_URL", &port.to_string()])
        .await;
    let output = process.stop().await;
    assert!(!output.contains(SECRET), "{output}");

    // The same spool with a database that works: everything that was sent is there.
    let process = producer(&files.embedded(&home, "inline"));
    ha_kit::eventually("an empty spool", async || {
        let is_empty = process.status().await["spool"]["events"] == 0;
        (is_empty && process.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    process.stop().await;
    let missing = crate::support::missing_or_wrong(&home, &files.points());
    assert_eq!(missing, [""; 0]);
}

#[tokio::test]
async fn all_bad_settings_are_said_at_once_and_no_secret() {
    let process = producer(&[
        ("ENRICHMENT_MODE", "sideways".into()),
        ("HOME_ASSISTANT_URL", format!("ftp://u:{SECRET}@home")),
        ("INSTANCE_NAME", "a/b".into()),
        ("EXCLUDE_GLOBS", "sensor.[".into()),
        ("FRAME_EVENTS_MAX", "1001".into()),
        ("EVENT_BYTES_MAX", "lots".into()),
        ("TLS_CERT_FILE", "/nonexistent".into()),
        ("ADMIN_ADDR", "here".into()),
    ]);
    let names = [
        "ENRICHMENT_MODE: \"sideways\"",
        "HOME_ASSISTANT_URL:",
        "HOME_ASSISTANT_TOKEN is not set",
        "INSTANCE_NAME: \"a/b\"",
        "EXCLUDE_GLOBS",
        "FRAME_EVENTS_MAX: \"1001\"",
        "EVENT_BYTES_MAX: \"lots\"",
        "TLS_KEY_FILE",
        "ADMIN_ADDR: \"here\"",
    ];
    settings_are_refused(process, &names, SECRET).await;
}

#[tokio::test]
async fn an_admin_address_in_use_ends_the_start_with_its_remedy() {
    let (home, files) = (home().await, Files::new());
    let start = |taken| producer(&with(files.embedded(&home, "inline"), &[taken]));
    an_admin_address_in_use_ends_the_start(start).await;
}

#[tokio::test]
async fn a_second_producer_on_one_spool_is_refused() {
    let (home, files) = (home().await, Files::new());
    let first = producer(&files.embedded(&home, "inline"));
    first.wait_until_ready().await;
    let ended = producer(&files.embedded(&home, "inline")).ended().await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert!(
        ended.output.contains("SPOOL_PATH") || ended.output.contains("spool.db"),
        "{}",
        ended.output
    );
    first.wait_until_ready().await;
    first.stop().await;
}
