//! The definitions on a real RabbitMQ: the same topology as the code's, and users who may do their
//! work and nothing else.

use crate::tools::{read, run, tool};
use ha_broker::{Broker, BrokerOptions, TlsFiles, topology};
use ha_services::{Service, Services};
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation, Connection, ExchangeKind};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// What was declared in a virtual host, one line a thing.
async fn declared(services: &Services, vhost: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for what in [
        ["list_exchanges", "name", "type", "durable", "arguments"],
        ["list_queues", "name", "durable", "auto_delete", "arguments"],
        [
            "list_bindings",
            "source_name",
            "destination_name",
            "routing_key",
            "arguments",
        ],
    ] {
        let arguments = [&["--quiet", "-p", vhost], &what[..]].concat();
        let lines = services.rabbitmqctl(&arguments).await.unwrap();
        let ours = lines.lines().filter(|line| line.contains("ha."));
        all.extend(ours.map(|line| format!("{}: {line}", what[0])));
    }
    all
}

struct Users {
    services: Services,
    passwords: tempfile::TempDir,
}

impl Users {
    /// A broker with the definitions as `make-secrets.sh` writes them for this version.
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let services = Services::start_private(&[Service::RabbitMq]).await.unwrap();
        let passwords = tempfile::tempdir().unwrap();
        run(tool("deploy/make-secrets.sh")
            .arg(passwords.path())
            .env("RABBITMQ_SERIES", "3"));
        let definitions = passwords.path().join("rabbitmq_definitions.json");
        services
            .rabbitmqctl(&["import_definitions", definitions.to_str().unwrap()])
            .await
            .unwrap();
        Self {
            services,
            passwords,
        }
    }

    async fn connect(&self, user: &str) -> (Broker, Connection) {
        let file = self
            .passwords
            .path()
            .join(format!("rabbitmq_password_{user}"));
        let password = std::fs::read_to_string(file).unwrap();
        let url = self
            .services
            .amqp_url("/")
            .replace("guest:guest", &format!("{user}:{}", password.trim()));
        connect(&url).await
    }
}

async fn connect(url: &str) -> (Broker, Connection) {
    let broker = Broker::new(BrokerOptions {
        url: url.parse().unwrap(),
        connection_name: "deploy checks".into(),
        tls: TlsFiles::default(),
    })
    .unwrap();
    let connection = broker.connect().await.unwrap();
    (broker, connection)
}

async fn publish(connection: &Connection, exchange: &str, key: &str) -> Result<(), lapin::Error> {
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default().with_delivery_mode(2);
    let sent = channel
        .basic_publish(exchange.into(), key.into(), options, b"x", properties)
        .await?;
    match sent.await? {
        Confirmation::Ack(None) => Ok(()),
        other => panic!("{exchange}: {other:?}"),
    }
}

async fn consume(connection: &Connection, queue: &str) -> Result<(), lapin::Error> {
    let channel = connection.create_channel().await?;
    let options = BasicConsumeOptions::default();
    channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await?;
    channel.close(200, "done".into()).await
}

#[track_caller]
fn assert_refused(result: Result<(), lapin::Error>) {
    let error = result.expect_err("was allowed");
    assert!(error.to_string().contains("ACCESS_REFUSED"), "{error}");
}

#[tokio::test]
async fn definitions_are_the_topology_of_the_code_and_every_user_may_do_his_work_only() {
    let users = Users::start().await;
    let services = &users.services;

    // What the code declares where it may, in a virtual host of its own.
    services.rabbitmqctl(&["add_vhost", "code"]).await.unwrap();
    services
        .rabbitmqctl(&["set_permissions", "-p", "code", "guest", ".*", ".*", ".*"])
        .await
        .unwrap();
    let (broker, connection) = connect(&services.amqp_url("code")).await;
    topology::ensure(&broker, &connection).await.unwrap();
    let by_code = declared(services, "code").await;
    assert!(by_code.len() >= 7, "{by_code:?}");
    // The import goes on after the command has returned.
    let deadline = Instant::now() + Duration::from_secs(20);
    while declared(services, "/").await != by_code && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(
        declared(services, "/").await,
        by_code,
        "definitions.json differs from topology.rs"
    );

    let policies = services
        .rabbitmqctl(&["--quiet", "list_queues", "name", "policy"])
        .await
        .unwrap();
    assert!(
        policies.contains("ha.events\tha-events-limits"),
        "{policies}"
    );

    let (broker, producer) = users.connect("producer").await;
    topology::ensure(&broker, &producer).await.unwrap();
    publish(&producer, "ha.events", "home").await.unwrap();
    publish(&producer, "ha.dead-letters", "").await.unwrap();
    let channel = producer.create_channel().await.unwrap();
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare("ha.producer.home".into(), exclusive, FieldTable::default())
        .await
        .unwrap();
    assert_refused(consume(&producer, "ha.events").await);
    assert_refused(consume(&producer, "ha.dead-letters").await);
    assert_refused(publish(&producer, "", "ha.suspects").await);
    let options = QueueDeclareOptions::default();
    let other = channel
        .queue_declare("another".into(), options, FieldTable::default())
        .await;
    assert_refused(other.map(drop));

    let (broker, worker) = users.connect("worker").await;
    topology::ensure(&broker, &worker).await.unwrap();
    consume(&worker, "ha.events").await.unwrap();
    consume(&worker, "ha.suspects").await.unwrap();
    publish(&worker, "ha.dead-letters", "").await.unwrap();
    publish(&worker, "", "ha.suspects").await.unwrap();
    assert_refused(publish(&worker, "ha.events", "home").await);
    assert_refused(consume(&worker, "ha.dead-letters").await);

    let (_, operator) = users.connect("operator").await;
    let channel = operator.create_channel().await.unwrap();
    let dead_letter = channel
        .basic_get("ha.dead-letters".into(), BasicGetOptions { no_ack: true })
        .await;
    assert!(dead_letter.unwrap().is_some());
    publish(&operator, "ha.events", "home").await.unwrap();
    publish(&operator, "ha.dead-letters", "").await.unwrap();
    assert_refused(consume(&operator, "ha.events").await);

    let (_, admin) = users.connect("admin").await;
    let channel = admin.create_channel().await.unwrap();
    let options = ExchangeDeclareOptions::default();
    let made = channel.exchange_declare(
        "new".into(),
        ExchangeKind::Fanout,
        options,
        FieldTable::default(),
    );
    made.await.unwrap();
}

#[test]
fn the_tree_holds_no_password_and_the_4x_policy_stays_out_for_3x() {
    let definitions: serde_json::Value =
        serde_json::from_str(&read("deploy/rabbitmq/definitions.json")).unwrap();
    for user in definitions["users"].as_array().unwrap() {
        assert_eq!(user["password_hash"], "", "{user}");
    }
    assert!(definitions.to_string().contains("max-length-bytes"));
    assert!(
        !definitions.to_string().contains("-1"),
        "drops dead letters on 3.x"
    );
    let unlimited = "ha-dead-letters-unlimited";
    let made = |series: &str| {
        let directory = tempfile::tempdir().unwrap();
        run(tool("deploy/make-secrets.sh")
            .arg(directory.path())
            .env("RABBITMQ_SERIES", series));
        let file: &Path = &directory.path().join("rabbitmq_definitions.json");
        let text = std::fs::read_to_string(file).unwrap();
        let made: serde_json::Value = serde_json::from_str(&text).unwrap();
        for user in made["users"].as_array().unwrap() {
            assert!(user["password_hash"].as_str().unwrap().len() > 40, "{user}");
        }
        text.contains(unlimited)
    };
    assert!(!made("3") && made("4"));
}
