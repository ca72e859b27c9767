//! What the services hold: points in InfluxDB, messages in RabbitMQ.

use ha_services::Services;
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::Value;
use std::collections::BTreeMap;

/// One stored point: tags and fields by name, the time in nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub time_ns: i64,
    pub columns: BTreeMap<String, Value>,
}

impl Stored {
    pub fn text(&self, name: &str) -> &str {
        self.columns
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// A database and a virtual host that no other test uses.
pub struct Place {
    pub services: &'static Services,
    pub vhost: String,
    pub database: String,
}

impl Place {
    pub async fn new() -> Self {
        let services = Services::shared().await.unwrap();
        let vhost = Services::unique_name("e2e");
        services.create_vhost(&vhost).await.unwrap();
        services.create_database(&vhost).await.unwrap();
        Self {
            services,
            database: vhost.clone(),
            vhost,
        }
    }

    pub fn amqp_url(&self) -> String {
        self.services.amqp_url(&self.vhost)
    }

    /// The variables of a process that writes to this database over the v2 API.
    pub fn influxdb(&self) -> Vec<(&'static str, String)> {
        vec![
            ("INFLUXDB_URL", self.services.influxdb_v2_url()),
            ("INFLUXDB_TOKEN", self.services.influxdb_token().into()),
            ("INFLUXDB_ORG", ha_services::INFLUXDB_ORG.into()),
            ("INFLUXDB_BUCKET", self.database.clone()),
        ]
    }

    /// All points of state changes, in the order of time; those of one time by their tags.
    pub async fn points(&self) -> Vec<Stored> {
        let statement = "SELECT * FROM home_assistant_events";
        let answer = self
            .services
            .query(&self.database, statement)
            .await
            .unwrap();
        let Some(series) = answer.pointer("/results/0/series/0") else {
            return Vec::new();
        };
        let columns = series["columns"].as_array().unwrap();
        let mut points: Vec<_> = series["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let named = columns.iter().zip(row.as_array().unwrap());
                let mut columns: BTreeMap<String, Value> = named
                    .filter(|(_, value)| !value.is_null())
                    .map(|(name, value)| (name.as_str().unwrap().to_owned(), value.clone()))
                    .collect();
                let time_ns = columns.remove("time").unwrap().as_i64().unwrap();
                Stored { time_ns, columns }
            })
            .collect();
        points.sort_by_key(|point| (point.time_ns, point.text("entity_id").to_owned()));
        points
    }

    /// How many points there are, over all series.
    pub async fn count(&self) -> usize {
        let statement = "SELECT COUNT(state) FROM home_assistant_events";
        let answer = self
            .services
            .query(&self.database, statement)
            .await
            .unwrap();
        let count = answer
            .pointer("/results/0/series/0/values/0/1")
            .and_then(Value::as_u64);
        usize::try_from(count.unwrap_or(0)).unwrap()
    }

    pub async fn channel(&self) -> (Connection, Channel) {
        let options = ConnectionProperties::default();
        let connection = Connection::connect(&self.amqp_url(), options)
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Messages that are ready; 0 while there is no such queue.
    pub async fn depth(&self, queue: &str) -> usize {
        let (connection, channel) = self.channel().await;
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await;
        let depth = declared.map_or(0, |queue| queue.message_count());
        let _ = connection.close(200, "bye".into()).await;
        depth as usize
    }

    /// The dead letters, taken off their queue: their bodies and their headers as texts.
    pub async fn dead_letters(&self) -> Vec<(Vec<u8>, BTreeMap<String, String>)> {
        let (connection, channel) = self.channel().await;
        let mut dead_letters = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = channel
            .basic_get("ha.dead-letters".into(), options)
            .await
            .unwrap()
        {
            let headers = message.properties.headers().clone().unwrap_or_default();
            let headers = headers
                .inner()
                .iter()
                .filter_map(|(name, value)| match value {
                    AMQPValue::LongString(text) => Some((name.to_string(), text.to_string())),
                    _ => None,
                })
                .collect();
            dead_letters.push((message.delivery.data, headers));
        }
        let _ = connection.close(200, "bye".into()).await;
        dead_letters
    }
}
