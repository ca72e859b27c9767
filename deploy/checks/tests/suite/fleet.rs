//! Many homes on one broker (docs/fleet.md): TLS with a private authority, a user for each home who
//! can be no other home, workers in the centre; with the files as they are shipped, on a real RabbitMQ.

use super::compose::read_by;
use super::metrics::{Running, binary, metrics, start, sums};
use crate::tools::{list, read, run, text, tool};
use ha_broker::{Broker, BrokerOptions, TlsFiles};
use ha_services::{Service, Services};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(180);

/// The simulated Home Assistant; ends with this.
struct Home {
    child: Child,
    url: String,
    token: String,
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Home {
    fn start() -> Self {
        let mut child = Command::new(binary("loadtest"))
            .args(["home", "--listen", "127.0.0.1:0", "--rate", "20"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It prints its address and its token first, each the last word of a line.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last_word = || {
            let line = lines.next().unwrap().unwrap();
            line.split_whitespace().last().unwrap().to_owned()
        };
        let (url, token) = (last_word(), last_word());
        // Its progress is of no interest, but nobody may close the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, token }
    }
}

/// A port below the range that clients get theirs from.
fn free_port() -> u16 {
    (21_000..25_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// RabbitMQ with `tls.conf`, but for the folder, the port, and a plain listener that its owner waits
/// for.
async fn rabbitmq(secrets: &Path, port: u16) -> Services {
    let folder = secrets.display().to_string();
    let shipped = read("deploy/rabbitmq/tls.conf");
    let mut ours = shipped.replace("listeners.tcp = none\n", "").replace(
        "listeners.ssl.default = 5671",
        &format!("listeners.ssl.1 = 127.0.0.1:{port}"),
    );
    for (name, file) in [
        ("ca.crt", "rabbitmq_tls_ca.crt"),
        ("tls.crt", "rabbitmq_tls.crt"),
        ("tls.key", "rabbitmq_tls.key"),
    ] {
        let mounted = format!("/etc/rabbitmq/tls/{name}\n");
        assert!(ours.contains(&mounted), "{name}");
        ours = ours.replace(&mounted, &format!("{folder}/{file}\n"));
    }
    let file = secrets.join("tls.conf");
    std::fs::write(&file, ours).unwrap();
    let settings = [("RABBITMQ_EXTRA_CONFIG_FILE", file.to_str().unwrap())];
    let services = Services::start_private_with(&[Service::RabbitMq], &settings)
        .await
        .unwrap();
    for definitions in [
        "rabbitmq_definitions.json",
        "rabbitmq_definitions-cottage.json",
    ] {
        let file = secrets.join(definitions);
        services
            .rabbitmqctl(&["import_definitions", file.to_str().unwrap()])
            .await
            .unwrap();
    }
    services
}

/// As the home's user, when the import has reached him.
async fn connect(secrets: &Path) -> Connection {
    let url = std::fs::read_to_string(secrets.join("producer-cottage_amqp_url")).unwrap();
    let ca = std::fs::read_to_string(secrets.join("rabbitmq_tls_ca.crt")).unwrap();
    let broker = Broker::new(BrokerOptions {
        url: url.trim().parse().unwrap(),
        connection_name: "deploy checks".into(),
        tls: TlsFiles {
            ca_pem: Some(ca),
            identity_pem: None,
        },
    })
    .unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        match broker.connect().await {
            Ok(connection) => return connection,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn publish(connection: &Connection, home: &str) -> Result<(), lapin::Error> {
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let sent = channel
        .basic_publish("ha.events".into(), home.into(), options, b"x", properties)
        .await?;
    sent.await?;
    Ok(())
}

async fn hold_queue(connection: &Connection, home: &str) -> Result<(), lapin::Error> {
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let name = format!("ha.producer.{home}");
    channel
        .queue_declare(name.as_str().into(), options, FieldTable::default())
        .await?;
    Ok(())
}

#[track_caller]
fn assert_refused(result: Result<(), lapin::Error>) {
    let error = result.expect_err("was allowed");
    assert!(error.to_string().contains("ACCESS_REFUSED"), "{error}");
}

/// A line a connection: its user, and whether it is encrypted.
async fn connected(services: &Services) -> String {
    let listing = ["--quiet", "list_connections", "user", "ssl"];
    services.rabbitmqctl(&listing).await.unwrap()
}

/// Points that the worker has written.
fn points(worker: &Running) -> f64 {
    let name = "ha_ingestor_sink_points_written_total";
    sums(&metrics(worker, name))[name]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_speaks_tls_to_the_broker_of_its_fleet_as_itself_and_as_nobody_else() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let (secrets, port) = (directory.path(), free_port());
    run(tool("deploy/make-secrets.sh")
        .arg(secrets)
        .env("RABBITMQ_SERIES", "3")
        .env("RABBITMQ_TLS", "1")
        .env("RABBITMQ_ADDRESS", format!("localhost:{port}"))
        .env("HOMES", "cottage"));
    let services = rabbitmq(secrets, port).await;

    let cottage = connect(secrets).await;
    publish(&cottage, "cottage").await.unwrap();
    hold_queue(&cottage, "cottage").await.unwrap();
    assert_refused(publish(&cottage, "flat").await);
    assert_refused(hold_queue(&cottage, "flat").await);
    // The queue is the connection's that holds it.
    cottage.close(200, "done".into()).await.unwrap();

    let home = Home::start();
    let file = |name: &str| secrets.join(name).display().to_string();
    let (ca, of_producer, of_worker) = (
        file("rabbitmq_tls_ca.crt"),
        file("producer-cottage_amqp_url"),
        file("worker_amqp_url"),
    );
    let _producer = start(
        "producer",
        &[
            ("ENRICHMENT_MODE", "queue"),
            ("INSTANCE_NAME", "cottage"),
            ("HOME_ASSISTANT_URL", &home.url),
            ("HOME_ASSISTANT_TOKEN", &home.token),
            ("AMQP_URL_FILE", &of_producer),
            ("TLS_CA_FILE", &ca),
        ],
    );
    let worker = start(
        "worker",
        &[
            ("SINK", "sqlite"),
            ("AMQP_URL_FILE", &of_worker),
            ("TLS_CA_FILE", &ca),
        ],
    );
    let deadline = Instant::now() + SOON;
    while points(&worker) == 0.0 {
        assert!(Instant::now() < deadline, "nothing is written");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let connections = connected(&services).await;
    for user in ["producer-cottage", "worker"] {
        assert!(
            connections.contains(&format!("{user}\ttrue")),
            "{connections}"
        );
    }
    assert!(!connections.contains("\tfalse"), "{connections}");

    // A home that leaves is out at once.
    let leaving = ["delete_user", "producer-cottage"];
    services.rabbitmqctl(&leaving).await.unwrap();
    let deadline = Instant::now() + SOON;
    while connected(&services).await.contains("producer-cottage") {
        assert!(Instant::now() < deadline, "its connections stay");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[test]
fn compose_gives_rabbitmq_its_certificate_and_the_others_the_authority() {
    let directory = tempfile::tempdir().unwrap();
    run(tool("deploy/make-secrets.sh")
        .arg(directory.path())
        .env("RABBITMQ_TLS", "1"));
    let configuration = read_by(
        tool("docker-compose")
            .env("COMPOSE_FILE", "docker-compose.yml:deploy/compose.tls.yml")
            .env("COMPOSE_PROFILES", "full")
            .env("SECRETS_DIR", directory.path()),
    );
    for secret in configuration["secrets"].as_object().unwrap().values() {
        let file = text(&secret["file"]);
        assert!(Path::new(file).exists(), "make-secrets.sh makes no {file}");
    }
    let services = &configuration["services"];
    for name in ["producer", "worker"] {
        let address = std::fs::read_to_string(directory.path().join(format!("{name}_amqp_url")));
        let address = address.unwrap();
        assert!(address.starts_with("amqps://"), "{address}");
        assert!(address.contains("@rabbitmq:5671/"), "{address}");
        let environment = &services[name]["environment"];
        assert_eq!(environment["TLS_CA_FILE"], "/run/secrets/rabbitmq_tls_ca");
        let is_it = |secret: &serde_json::Value| secret["source"] == "rabbitmq_tls_ca";
        assert!(list(&services[name]["secrets"]).iter().any(is_it), "{name}");
    }
    // Every file that tls.conf names is mounted there.
    let given = list(&services["rabbitmq"]["secrets"]).iter();
    let given: Vec<&str> = given.map(|secret| text(&secret["target"])).collect();
    let named = read("deploy/rabbitmq/tls.conf");
    let named = named
        .lines()
        .filter_map(|line| line.split_once(" = /"))
        .map(|(_, path)| format!("/{path}"));
    for path in named {
        assert!(given.contains(&path.as_str()), "{path} is not in {given:?}");
    }
}

#[test]
fn the_database_of_many_homes_collects_its_garbage_before_it_is_ended_for_it() {
    let files = "docker-compose.yml:deploy/compose.fleet.yml";
    let configuration = read_by(
        tool("docker-compose")
            .env("COMPOSE_FILE", files)
            .env("COMPOSE_PROFILES", "full"),
    );
    let database = &configuration["services"]["influxdb"];
    let environment = &database["environment"];
    assert_eq!(environment["DOCKER_INFLUXDB_INIT_MODE"], "setup");
    assert_eq!(environment["GOGC"], "off");
    let ended = text(&database["deploy"]["resources"]["limits"]["memory"]);
    let collected = text(&environment["GOMEMLIMIT"]).strip_suffix("GiB");
    let collected = collected.unwrap().parse::<u64>().unwrap() << 30;
    assert!(collected < ended.parse::<u64>().unwrap(), "{database:#}");
    let snapshot = text(&environment["INFLUXD_STORAGE_CACHE_SNAPSHOT_MEMORY_SIZE"]);
    assert!(
        snapshot.parse::<u64>().unwrap() < collected / 4,
        "{snapshot}"
    );
}

#[test]
fn the_centre_in_kubernetes_trusts_the_authority_and_opens_one_port_to_homes() {
    let objects = super::kubernetes::rendered("k8s/overlays/fleet");
    let worker = super::kubernetes::named(&objects, "Deployment", "ha-ingestor-worker");
    let container = &super::kubernetes::containers(worker)[0];
    let variable = list(&container["env"])
        .iter()
        .find(|variable| variable["name"] == "TLS_CA_FILE")
        .unwrap();
    let (folder, file) = text(&variable["value"]).rsplit_once('/').unwrap();
    let mount = list(&container["volumeMounts"])
        .iter()
        .find(|mount| mount["mountPath"] == folder)
        .unwrap();
    let volumes = list(&worker["spec"]["template"]["spec"]["volumes"]);
    let volume = volumes
        .iter()
        .find(|volume| volume["name"] == mount["name"])
        .unwrap();
    let items: Vec<&str> = list(&volume["secret"]["items"])
        .iter()
        .map(|item| text(&item["path"]))
        .collect();
    assert_eq!(items, [file], "the key is not the worker's");
    let cluster = super::kubernetes::named(&objects, "RabbitmqCluster", "ha-ingestor-rabbitmq");
    assert_eq!(
        cluster["spec"]["tls"]["caSecretName"],
        volume["secret"]["secretName"]
    );
    let from_everywhere = super::kubernetes::of_kind(&objects, "NetworkPolicy")
        .into_iter()
        .flat_map(|policy| list(&policy["spec"]["ingress"]))
        .filter(|rule| rule["from"][0]["ipBlock"].is_object());
    let ports: Vec<_> = from_everywhere
        .flat_map(|rule| list(&rule["ports"]))
        .map(|port| port["port"].as_u64())
        .collect();
    assert_eq!(ports, [Some(5671)]);
    let producers = super::kubernetes::of_kind(&objects, "StatefulSet");
    assert!(producers.is_empty(), "homes run their own");
}
