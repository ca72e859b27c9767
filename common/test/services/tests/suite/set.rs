//! A set of services, seen from outside.

use anyhow::{Context as _, ensure};
use ha_services::{INFLUXDB_BUCKET, INFLUXDB_ORG, Service, Services};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::processes::{processes_of, wait_until};

/// Writes line protocol through the v2 front and returns the answer.
async fn write_v2(
    services: &Services,
    bucket: &str,
    precision: &str,
    token: &str,
    lines: &'static str,
) -> anyhow::Result<(StatusCode, String)> {
    let url = format!(
        "{}/api/v2/write?org={INFLUXDB_ORG}&bucket={bucket}&precision={precision}",
        services.influxdb_v2_url()
    );
    let client = reqwest::Client::builder().no_proxy().build()?;
    let authorization = format!("Token {token}");
    let answer = client
        .post(url)
        .header("Authorization", authorization)
        .body(lines)
        .send()
        .await?;
    Ok((answer.status(), answer.text().await?))
}

/// The rows of the first series of an answer.
fn rows(answer: &Value) -> Value {
    answer
        .pointer("/results/0/series/0/values")
        .cloned()
        .unwrap_or(Value::Null)
}

async fn get_status(url: &str) -> anyhow::Result<StatusCode> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    Ok(client.get(url).send().await?.status())
}

#[tokio::test]
async fn vhosts_are_usable_and_deleted() -> anyhow::Result<()> {
    let services = Services::shared().await?;
    let name = Services::unique_name("vhost/with slash");
    services.create_vhost(&name).await?;
    let encoded = services
        .amqp_url(&name)
        .rsplit('/')
        .next()
        .context("an AMQP URL ends with its vhost")?
        .to_owned();
    let queue = format!("queues/{encoded}/q");
    let arguments = json!({"durable": true, "arguments": {"x-queue-type": "quorum"}});
    services
        .management(Method::PUT, &queue, Some(arguments))
        .await?;
    let found = services.management(Method::GET, &queue, None).await?;
    assert_eq!(found["type"], "quorum");
    services.delete_vhost(&name).await?;
    let gone = services.management(Method::GET, &queue, None).await;
    assert!(gone.unwrap_err().to_string().contains("404"));
    Ok(())
}

#[tokio::test]
async fn every_default_service_answers() -> anyhow::Result<()> {
    let services = Services::shared().await?;
    for url in [
        format!("{}/metrics", services.rabbitmq_prometheus_url()),
        format!("{}/ping", services.influxdb_url()),
        format!("{}/health", services.influxdb_v2_url()),
    ] {
        assert!(get_status(&url).await?.is_success(), "{url}");
    }
    for service in Service::DEFAULT {
        let refusal = services.kill9(service).await.unwrap_err().to_string();
        assert!(
            refusal.contains("private"),
            "a shared set is not to be crashed: {refusal}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_v2_write_keeps_its_time_in_every_precision() -> anyhow::Result<()> {
    let services = Services::shared().await?;
    let database = Services::unique_name("precision");
    services.create_database(&database).await?;
    for (precision, line) in [
        ("ns", "m,p=ns v=1 1700000000123456789"),
        ("us", "m,p=us v=1 1700000000123456"),
        ("ms", "m,p=ms v=1 1700000000123"),
        ("s", "m,p=s v=1 1700000000"),
    ] {
        let token = services.influxdb_token();
        let (status, body) = write_v2(services, &database, precision, token, line).await?;
        assert_eq!(status, StatusCode::NO_CONTENT, "{precision}: {body}");
    }
    let answer = services.query(&database, "SELECT p, v FROM m").await?;
    let expected = json!([
        [1_700_000_000_000_000_000_i64, "s", 1],
        [1_700_000_000_123_000_000_i64, "ms", 1],
        [1_700_000_000_123_456_000_i64, "us", 1],
        [1_700_000_000_123_456_789_i64, "ns", 1],
    ]);
    assert_eq!(rows(&answer), expected);
    services.delete_database(&database).await?;
    assert!(services.query(&database, "SELECT v FROM m").await.is_err());
    Ok(())
}

#[tokio::test]
async fn the_v2_front_refuses_as_documented() -> anyhow::Result<()> {
    let services = Services::shared().await?;
    let (bucket, token) = (INFLUXDB_BUCKET, services.influxdb_token());
    services.create_database(bucket).await?;
    write_v2(services, bucket, "ns", token, "refusals v=1 1").await?;
    let conflict = "refusals v=\"text\" 2";
    for (bucket, precision, token, line, status, code) in [
        (bucket, "ns", "wrong", "refusals v=1", 401, "unauthorized"),
        ("nowhere", "ns", token, "refusals v=1", 404, "not found"),
        (bucket, "hours", token, "refusals v=1", 400, "invalid"),
        (bucket, "ns", token, "not line protocol", 400, "invalid"),
        (bucket, "ns", token, conflict, 400, "invalid"),
    ] {
        let (answer, body) = write_v2(services, bucket, precision, token, line).await?;
        assert_eq!(answer.as_u16(), status, "{line}: {body}");
        let body: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
        assert_eq!(body["code"], code, "{line}");
        assert!(
            body["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
    }
    let query = format!(
        "{}/query?db={bucket}&q=SHOW+MEASUREMENTS",
        services.influxdb_v2_url()
    );
    assert_eq!(get_status(&query).await?, StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test]
async fn a_crashed_database_keeps_its_points_and_its_front_says_that_it_is_away()
-> anyhow::Result<()> {
    let services = Services::start_private(&[Service::InfluxDb, Service::InfluxDbV2Front]).await?;
    let token = services.influxdb_token();
    let (status, _) = write_v2(&services, INFLUXDB_BUCKET, "ns", token, "m v=7 42").await?;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let first = services.pid(Service::InfluxDb);

    services.kill9(Service::InfluxDb).await?;
    let (status, _) = write_v2(&services, INFLUXDB_BUCKET, "ns", token, "m v=8 43").await?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let health = format!("{}/health", services.influxdb_v2_url());
    assert_eq!(get_status(&health).await?, StatusCode::SERVICE_UNAVAILABLE);

    services.start_again(Service::InfluxDb).await?;
    assert_ne!(services.pid(Service::InfluxDb), first);
    let answer = services.query(INFLUXDB_BUCKET, "SELECT v FROM m").await?;
    assert_eq!(rows(&answer), json!([[42, 7]]));
    Ok(())
}

#[tokio::test]
async fn a_set_starts_and_dropping_it_leaves_nothing() -> anyhow::Result<()> {
    let all = Service::DEFAULT;
    let settings = [("RABBITMQ_CONSUMER_TIMEOUT_MS", "61000")];
    let services = Services::start_private_with(&all, &settings).await?;
    let environment = services.rabbitmqctl(&["environment"]).await?;
    assert!(
        environment.contains("{consumer_timeout,61000}"),
        "{environment}"
    );

    services.create_vhost("kept").await?;
    services.kill9(Service::RabbitMq).await?;
    assert!(
        services
            .management(Method::GET, "vhosts/kept", None)
            .await
            .is_err()
    );
    services.start_again(Service::RabbitMq).await?;
    services
        .management(Method::GET, "vhosts/kept", None)
        .await?;

    services.pause(Service::InfluxDbV2Front).await?;
    services.stop(Service::InfluxDbV2Front).await?;
    services.stop(Service::InfluxDbV2Front).await?;
    assert_eq!(services.pid(Service::InfluxDbV2Front), None);

    let dir = services.dir().to_owned();
    let pids: Vec<u32> = all
        .iter()
        .filter_map(|service| services.pid(*service))
        .collect();
    assert_eq!(pids.len(), all.len() - 1);
    assert!(pids.iter().all(|pid| processes_of(&dir).contains(pid)));
    drop(services);
    wait_until("every process has ended", || processes_of(&dir).is_empty()).await?;
    ensure!(!dir.exists(), "{} is left", dir.display());
    Ok(())
}

#[tokio::test]
async fn a_set_with_a_directory_keeps_its_data() -> anyhow::Result<()> {
    let ports = Services::start_private(&[Service::InfluxDbV2Front]).await?;
    let (dir, base) = (tempfile::tempdir()?, ports.port_base());
    let first = Services::start(dir.path().to_owned(), base, &[Service::InfluxDb]).await?;
    first.create_database("kept").await?;

    let other = tempfile::tempdir()?;
    let taken = Services::start(other.path().to_owned(), base, &[Service::InfluxDb]).await;
    let words = taken.unwrap_err().to_string();
    assert!(words.contains("is taken"), "{words}");

    drop(first);
    assert_eq!(processes_of(dir.path()), Vec::<u32>::new());
    let second = Services::start(dir.path().to_owned(), base, &[Service::InfluxDb]).await?;
    let databases = second.query("", "SHOW DATABASES").await?;
    assert!(rows(&databases).to_string().contains("kept"));
    Ok(())
}
