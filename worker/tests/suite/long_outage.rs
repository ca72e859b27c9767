//! The database is away for longer than RabbitMQ's consumer timeout.

use crate::batches::{many, publish};
use crate::worker;
use ha_kit::{Place, eventually, free_port};
use ha_services::{Service, Services};
use reqwest::Method;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

/// The broker looks for timed out consumers once a second here, and closes their channels.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(2);
const SINK_HOLD_MAX: &str = "1s";

/// Every connection goes on to `to`, until the task is aborted.
async fn forward(listener: TcpListener, to: String) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let to = to.clone();
        connections.spawn(async move {
            let mut onward = TcpStream::connect(&to).await?;
            copy_bidirectional(&mut stream, &mut onward).await
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_the_consumer_timeout_costs_one_delivery_and_no_dead_letter() {
    const BATCHES: u64 = 20;
    let timeout_ms = CONSUMER_TIMEOUT.as_millis().to_string();
    let settings = [("RABBITMQ_CONSUMER_TIMEOUT_MS", timeout_ms.as_str())];
    let broker = Services::start_private_with(&[Service::RabbitMq], &settings);
    // Ends with this process.
    let services: &'static Services = Box::leak(Box::new(broker.await.unwrap()));
    services.create_vhost("long").await.unwrap();
    let stored = Place::new().await;
    let queued = Place {
        services,
        vhost: "long".to_owned(),
        database: String::new(),
    };
    let port = free_port();
    let mut variables = stored.influxdb();
    variables.retain(|(name, _)| *name != "INFLUXDB_URL");
    variables.extend([
        ("INFLUXDB_URL", format!("http://127.0.0.1:{port}")),
        ("AMQP_URL", queued.amqp_url()),
        ("SINK_HOLD_MAX", SINK_HOLD_MAX.to_owned()),
    ]);
    let process = worker(&variables);
    eventually("the queue", async || {
        process
            .output()
            .contains(r#""message":"consuming""#)
            .then_some(())
    })
    .await;
    let (_connection, channel) = queued.channel().await;
    publish(&channel, &many(BATCHES)).await;
    eventually("deliveries given back", async || {
        let given_back = "deliveries went back to the queue";
        process.output().contains(given_back).then_some(())
    })
    .await;
    // A consumer that held them, or took them again, would meet its timeout twice in this time.
    tokio::time::sleep(CONSUMER_TIMEOUT * 2).await;
    assert_eq!(queued.depth("ha.events").await as u64, BATCHES);

    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let url: Url = stored.services.influxdb_v2_url().parse().unwrap();
    let to = format!("127.0.0.1:{}", url.port().unwrap());
    let forwarding = tokio::spawn(forward(listener, to));
    eventually("all points", async || {
        (stored.count().await as u64 == BATCHES * 100).then_some(())
    })
    .await;
    process.wait_until_ready().await;
    let statistics = eventually("statistics of all acknowledgements", async || {
        let path = "queues/long/ha.events";
        let queue = services.management(Method::GET, path, None).await.unwrap();
        let statistics = &queue["message_stats"];
        (statistics["ack"].as_u64()? >= BATCHES).then(|| statistics.clone())
    })
    .await;
    assert_eq!(statistics["deliver"], BATCHES * 2, "{statistics}");
    assert_eq!(statistics["redeliver"], BATCHES, "{statistics}");
    // Before it, two connections that declare one queue at once may get in each other's way.
    let output = process.stop().await;
    let (_, outage) = output.split_once("the database is away").unwrap();
    assert!(
        !outage.contains("not consuming"),
        "a channel was closed: {outage}"
    );
    for queue in ["ha.events", "ha.suspects", "ha.dead-letters"] {
        assert_eq!(queued.depth(queue).await, 0, "{queue}");
    }
    forwarding.abort();
}
