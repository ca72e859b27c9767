//! What several test files need.

use ha_broker::{
    Broker, BrokerOptions, Header, NotDelivered, Outgoing, Publisher, PublisherOptions,
    PublisherState, TlsFiles, topology,
};
use ha_services::{Service, Services};
use lapin::{Channel, Connection, ConnectionProperties};
use reqwest::Method;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::{Instant, timeout};

/// Conditions that a test waits for come true well within this, even on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// A virtual host of the shared services that no other test uses.
pub struct Vhost {
    pub services: &'static Services,
    pub name: String,
}

impl Vhost {
    pub async fn new() -> Self {
        let services = Services::shared().await.unwrap();
        let name = Services::unique_name("broker");
        services.create_vhost(&name).await.unwrap();
        Self { services, name }
    }

    pub fn url(&self) -> String {
        self.services.amqp_url(&self.name)
    }

    pub fn broker(&self) -> Arc<Broker> {
        broker(&self.url())
    }

    /// A user of this virtual host with the given patterns; the address to log in with.
    pub async fn user(&self, password: &str, configure: &str, write: &str, read: &str) -> String {
        let user = Services::unique_name("user");
        let of_user = serde_json::json!({"password": password, "tags": ""});
        self.management(Method::PUT, &format!("users/{user}"), Some(of_user))
            .await;
        let patterns = serde_json::json!({"configure": configure, "write": write, "read": read});
        let path = format!("permissions/{}/{user}", self.name);
        self.management(Method::PUT, &path, Some(patterns)).await;
        self.url()
            .replace("guest:guest@", &format!("{user}:{password}@"))
    }

    pub async fn management(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        self.services.management(method, path, body).await.unwrap()
    }

    /// Waits until exactly this many messages are ready in the queue.
    pub async fn wait_for_depth(&self, queue: &'static str, expected: u32) {
        let broker = self.broker();
        let connection = broker.connect().await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let deadline = Instant::now() + SOON;
        loop {
            let found = topology::depth(&broker, &channel, queue).await.unwrap();
            if found == expected {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{queue}: {found} messages, expected {expected}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A connection without any of our code, for what tests do behind its back.
    pub async fn raw(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.url(), ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }
}

/// RabbitMQ by itself, for the tests that crash or block it, one after the other.
pub async fn own_rabbitmq() -> MutexGuard<'static, Services> {
    static OWN: OnceCell<Mutex<Services>> = OnceCell::const_new();
    let start = async || Mutex::new(Services::start_private(&[Service::RabbitMq]).await.unwrap());
    let services = OWN.get_or_init(start).await.lock().await;
    // Whatever a failed test left behind is not the next one's trouble.
    services.resume(Service::RabbitMq).await.unwrap();
    services.start_again(Service::RabbitMq).await.unwrap();
    services
}

pub fn options(url: &str) -> BrokerOptions {
    let _ = rustls::crypto::ring::default_provider().install_default();
    BrokerOptions {
        url: url.parse().unwrap(),
        connection_name: "broker suite".into(),
        tls: TlsFiles::default(),
    }
}

pub fn broker(url: &str) -> Arc<Broker> {
    Arc::new(Broker::new(options(url)).unwrap())
}

/// A publisher that reconnects at once and is connected.
pub async fn publisher(broker: &Arc<Broker>) -> Publisher {
    let publisher = Publisher::start(Arc::clone(broker), quick());
    wait_for_state(&publisher, |state| *state == PublisherState::Connected).await;
    publisher
}

/// Short waits: the tests that need them wait for what follows.
pub fn quick() -> PublisherOptions {
    PublisherOptions {
        confirm_timeout: Duration::from_secs(3),
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_millis(200),
        ..PublisherOptions::default()
    }
}

pub async fn wait_for_state(publisher: &Publisher, wanted: impl Fn(&PublisherState) -> bool) {
    let mut state = publisher.state();
    let reached = timeout(SOON, state.wait_for(|state| wanted(state)))
        .await
        .is_ok();
    assert!(
        reached,
        "the publisher is still {:?}",
        publisher.state().borrow()
    );
}

/// Publishes; an answer must come within the limit, whatever it is.
pub async fn publish_within(publisher: &Publisher, limit: Duration) -> Result<(), NotDelivered> {
    let answer = timeout(limit, publisher.publish(event("x"))).await;
    answer.unwrap_or_else(|_| panic!("no answer within {limit:?}"))
}

pub fn event(body: &str) -> Outgoing {
    Outgoing {
        exchange: topology::EVENTS_EXCHANGE,
        routing_key: "home".into(),
        payload: body.to_owned().into(),
        content_type: "text/plain",
        headers: vec![
            ("x-text".into(), Header::Text("wört".into())),
            ("x-number".into(), Header::Number(7)),
        ],
    }
}

pub async fn depth(broker: &Broker, queue: &str) -> u32 {
    let connection = broker.connect().await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    topology::depth(broker, &channel, queue).await.unwrap()
}
