//! Addresses with an IPv6 host: each is connected to as it is written, or it is an error.

use super::check::{check, inline, line, replaced};
use crate::support::{
    Files, home, missing_or_wrong, producer, service_worker_with, wait_until_settled, with,
};
use crate::weather::open_meteo;
use ha_kit::{Place, Process, free_port};
use ha_simulator::{Simulator, SimulatorOptions};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// The same service at `[::1]`, on a port that nothing listens on at `127.0.0.1`.
struct AtIpv6 {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl AtIpv6 {
    /// Passes on what comes to the address in the URL. It serves for as long as the runtime.
    async fn of(url: &str) -> Self {
        let mut url = Url::parse(url).unwrap();
        let target = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        url.set_host(Some("[::1]")).unwrap();
        url.set_port(Some(port)).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let target = target.clone();
                tokio::spawn(async move {
                    if let Ok(mut onward) = TcpStream::connect(target).await {
                        let _ = copy_bidirectional(&mut stream, &mut onward).await;
                    }
                });
            }
        });
        Self {
            url: url.to_string(),
            connections,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_reached_at_an_ipv6_address() {
    let (folder, place) = (tempfile::tempdir().unwrap(), Place::new().await);
    let home = Simulator::start(SimulatorOptions::default()).await.unwrap();
    let home_assistant = AtIpv6::of(&home.url()).await;
    let broker = AtIpv6::of(&place.amqp_url()).await;
    let database = AtIpv6::of(&place.services.influxdb_v2_url()).await;
    let management = AtIpv6::of(&place.services.rabbitmq_management_url()).await;
    let weather = AtIpv6::of(&open_meteo().await).await;

    let mut producer = replaced(inline(&home, folder.path()), "ENRICHMENT_MODE", "queue");
    producer = replaced(producer, "HOME_ASSISTANT_URL", &home_assistant.url);
    producer.extend(place.influxdb());
    producer = replaced(producer, "INFLUXDB_URL", &database.url);
    producer.push(("AMQP_URL", broker.url.clone()));
    let (code, output) = check("producer", &producer).await;
    assert_eq!(code, Some(0), "{output}");
    line(&output, "ok   Home Assistant 2024.3.3 at http://[::1]:");
    line(&output, "ok   broker: RabbitMQ at amqp://[::1]:");
    line(&output, "ok   database: InfluxDB at http://[::1]:");
    for service in [&home_assistant, &broker, &database] {
        assert!(service.connections() > 0, "{}:\n{output}", service.url);
    }

    let before = broker.connections();
    let mut worker = replaced(place.influxdb(), "INFLUXDB_URL", &database.url);
    worker.push(("AMQP_URL", broker.url.clone()));
    worker.push(("RABBITMQ_MANAGEMENT_URL", management.url.clone()));
    worker.push(("WEATHER_PROVIDER", "open-meteo".into()));
    worker.push(("WEATHER_URL", weather.url.clone()));
    let (code, output) = check("worker", &worker).await;
    assert_eq!(code, Some(0), "{output}");
    line(&output, "ok   broker: RabbitMQ at amqp://[::1]:");
    line(&output, "ok   dead letters: ");
    line(&output, "ok   database: InfluxDB at http://[::1]:");
    line(&output, "ok   weather: open-meteo at http://[::1]:");
    for service in [&management, &weather] {
        assert!(service.connections() > 0, "{}:\n{output}", service.url);
    }
    assert!(broker.connections() > before, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_spans_arrive_at_ipv6_addresses() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let home_assistant = AtIpv6::of(&home.url()).await;
    let collector = axum::Router::new().fallback(async || ());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, collector).await });
    let collector = AtIpv6::of(&address).await;
    let token = "the-token-of-this-test";
    let port = free_port();
    let intake = [("INTAKE_ADDR", format!("[::1]:{port}"))];
    let worker = service_worker_with(&place, &files, port, token, &intake);
    worker.wait_until_ready().await;
    let variables = with(
        files.variables(&home, "service"),
        &[
            ("HOME_ASSISTANT_URL", home_assistant.url.clone()),
            ("ENRICHMENT_SERVICE_URL", format!("http://[::1]:{port}")),
            ("INTAKE_TOKEN", token.to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.clone()),
        ],
    );
    let (code, output) = check("producer", &variables).await;
    assert_eq!(code, Some(0), "{output}");
    line(&output, &format!("ok   worker http://[::1]:{port}"));

    let process: Process = producer(&variables);
    process.wait_until_ready().await;
    home.fire(50);
    wait_until_settled(&process, &home).await;
    // Spans that wait for a batch are sent at the end.
    process.stop().await;
    worker.stop().await;
    assert_eq!(missing_or_wrong(&home, &place.points().await), [""; 0]);
    assert!(home_assistant.connections() > 0);
    assert!(collector.connections() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_at_an_ipv6_address_is_not_looked_for_at_localhost() {
    let (folder, place) = (tempfile::tempdir().unwrap(), Place::new().await);
    let home = Simulator::start(SimulatorOptions::default()).await.unwrap();
    let port = Url::parse(&place.amqp_url()).unwrap().port().unwrap();
    let nobody = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await;
    assert!(nobody.is_err(), "the broker of the tests is at 127.0.0.1");
    let url = place.amqp_url().replace("127.0.0.1", "[::1]");

    let mut producer = replaced(inline(&home, folder.path()), "ENRICHMENT_MODE", "queue");
    producer.push(("AMQP_URL", url.clone()));
    let mut worker = place.influxdb();
    worker.push(("AMQP_URL", url));
    for (name, variables) in [("producer", &producer), ("worker", &worker)] {
        let (code, output) = check(name, variables).await;
        assert_eq!(code, Some(1), "{output}");
        let found = line(
            &output,
            "FAIL broker: AMQP_URL: cannot reach the broker at ",
        );
        assert!(found.contains(&format!("amqp://[::1]:{port}/")), "{output}");
        assert!(!output.contains("login accepted"), "{output}");
    }

    for no_host in ["amqp:///%2f", "amqp://guest:guest@:5672/", "amqp:broker"] {
        let (code, output) = check("worker", &replaced(worker.clone(), "AMQP_URL", no_host)).await;
        assert_eq!(code, Some(2), "{no_host}: {output}");
        assert!(output.contains("AMQP_URL"), "{no_host}: {output}");
    }
}
