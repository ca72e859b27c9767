//! Settings and neighbours that are wrong: what is said, and that nothing is lost over it.

use crate::batches::{many, publish};
use crate::{variables, worker};
use ha_kit::{
    Place, an_admin_address_in_use_ends_the_start, eventually, free_port,
    no_broker_at_the_address_is_said, settings_are_refused,
};

const SECRET: &str = "s3cret-that-never-shows";

/// Replaces variables.
fn with(
    mut variables: Vec<(&'static str, String)>,
    other: &[(&'static str, String)],
) -> Vec<(&'static str, String)> {
    variables.retain(|(name, _)| other.iter().all(|(replaced, _)| replaced != name));
    variables.extend(other.iter().cloned());
    variables
}

/// The worker with a wrong setting holds 1,000 events and says why; with the right one it stores
/// them all.
async fn holds_everything(wrong: (&'static str, String), said: &[&str]) {
    let place = Place::new().await;
    let good = with(variables(&place), &[("SHUTDOWN_GRACE_S", "1".into())]);
    let process = worker(&with(good.clone(), std::slice::from_ref(&wrong)));
    eventually("the queue", async || {
        process
            .output()
            .contains(r#""message":"consuming""#)
            .then_some(())
    })
    .await;
    let (_connection, channel) = place.channel().await;
    publish(&channel, &many(10)).await;
    process.wait_until_not_ready(said).await;
    // What settings or the database must remedy, a restart of the worker does not.
    assert_eq!(process.get("/healthz").await.0, 200);
    let (_, status) = process.get("/status").await;
    let (_, metrics) = process.get("/metrics").await;
    assert_eq!(place.depth("ha.dead-letters").await, 0);
    let output = process.stop().await;
    for text in [&status, &metrics, &output] {
        assert!(!text.contains(SECRET), "{text}");
    }
    eventually("everything back", async || {
        (place.depth("ha.events").await == 10).then_some(())
    })
    .await;
    assert_eq!(place.count().await, 0);

    let process = worker(&good);
    eventually("all points", async || {
        (place.count().await == 1_000).then_some(())
    })
    .await;
    process.wait_until_ready().await;
    process.stop().await;
    assert_eq!(place.depth("ha.events").await, 0);
    assert_eq!(place.depth("ha.dead-letters").await, 0);
}

#[tokio::test]
async fn a_wrong_token_is_named_and_everything_kept() {
    holds_everything(
        ("INFLUXDB_TOKEN", SECRET.into()),
        &["database", "INFLUXDB_TOKEN"],
    )
    .await;
}

#[tokio::test]
async fn a_wrong_bucket_is_named_and_everything_kept() {
    let bucket = "no-such-bucket";
    holds_everything(
        ("INFLUXDB_BUCKET", bucket.into()),
        &["INFLUXDB_BUCKET", bucket],
    )
    .await;
}

#[tokio::test]
async fn a_wrong_organisation_is_named_and_everything_kept() {
    holds_everything(
        ("INFLUXDB_ORG", "nobody".into()),
        &["INFLUXDB_ORG", "nobody"],
    )
    .await;
}

#[tokio::test]
async fn no_database_at_the_address_is_said_and_everything_kept() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    holds_everything(("INFLUXDB_URL", url), &["INFLUXDB_URL", &port.to_string()]).await;
}

#[tokio::test]
async fn no_broker_at_the_address_is_said_and_waited_for() {
    let place = Place::new().await;
    no_broker_at_the_address_is_said(|url| worker(&with(variables(&place), &[url]))).await;
}

#[tokio::test]
async fn a_wrong_broker_password_is_named_and_never_shown() {
    let place = Place::new().await;
    let url = place
        .amqp_url()
        .replace("guest:guest@", &format!("guest:{SECRET}@"));
    let process = worker(&with(variables(&place), &[("AMQP_URL", url)]));
    let said = process
        .wait_until_not_ready(&["AMQP_URL", "password"])
        .await;
    let (_, status) = process.get("/status").await;
    let output = process.stop().await;
    for text in [&said, &status, &output] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_named_with_its_remedy() {
    let place = Place::new().await;
    let (_connection, channel) = place.channel().await;
    let classic = channel.queue_declare(
        "ha.events".into(),
        lapin::options::QueueDeclareOptions {
            durable: true,
            ..Default::default()
        },
        lapin::types::FieldTable::default(),
    );
    classic.await.unwrap();
    let process = worker(&variables(&place));
    process
        .wait_until_not_ready(&["queue ha.events", "other arguments", "delete it"])
        .await;
    channel
        .queue_delete("ha.events".into(), Default::default())
        .await
        .unwrap();
    process.wait_until_ready().await;
    process.stop().await;
}

#[tokio::test]
async fn all_bad_settings_are_said_at_once_and_no_secret() {
    let process = worker(&[
        ("AMQP_URL", format!("http://user:{SECRET}@x/")),
        ("SINK", "influxdb".into()),
        ("INFLUXDB_API", "v9".into()),
        ("INFLUXDB_TOKEN", SECRET.into()),
        ("INFLUXDB_TOKEN_FILE", "/nonexistent".into()),
        ("BATCH_POINTS_MAX", "many".into()),
        ("ATTRIBUTES", "some".into()),
        ("TLS_CA_FILE", "/nonexistent/ca.pem".into()),
        ("ADMIN_ADDR", "here".into()),
        ("SHUTDOWN_GRACE_S", "-1".into()),
        ("LOG_FORMAT", "xml".into()),
    ]);
    let names = [
        "AMQP_URL:",
        "INFLUXDB_URL is not set",
        "INFLUXDB_API: \"v9\"",
        "INFLUXDB_TOKEN and INFLUXDB_TOKEN_FILE",
        "BATCH_POINTS_MAX: \"many\"",
        "ATTRIBUTES: \"some\"",
        "TLS_CA_FILE:",
        "ADMIN_ADDR: \"here\"",
        "SHUTDOWN_GRACE_S: \"-1\"",
        "LOG_FORMAT: \"xml\"",
        "settings must change",
    ];
    settings_are_refused(process, &names, SECRET).await;
}

#[tokio::test]
async fn without_any_setting_what_is_needed_is_named() {
    let ended = worker(&[("AMQP_URL", String::new())]).ended().await;
    assert_eq!(ended.status.code(), Some(2));
    for name in ["AMQP_URL is not set", "INFLUXDB_URL is not set"] {
        assert!(ended.output.contains(name), "{}", ended.output);
    }
}

#[tokio::test]
async fn an_admin_address_in_use_ends_the_start_with_its_remedy() {
    let place = Place::new().await;
    an_admin_address_in_use_ends_the_start(|taken| worker(&with(variables(&place), &[taken])))
        .await;
}
