//! Messages on their way to the broker.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use uuid::Uuid;

/// A header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// Any text.
    Text(String),
    /// A whole number.
    Number(i64),
}

/// A message to publish.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The exchange; empty for the default exchange.
    pub exchange: &'static str,
    /// The routing key, at most 255 bytes.
    pub routing_key: String,
    /// The body.
    pub payload: Bytes,
    /// Its type.
    pub content_type: &'static str,
    /// Headers.
    pub headers: Vec<(String, Header)>,
}

impl Outgoing {
    /// Persistent (delivery mode 2), with an id to tell returned messages by: a returned message
    /// can arrive with a neighbour's confirm.
    pub(crate) fn properties(&self, id: Uuid) -> BasicProperties {
        let mut headers = FieldTable::default();
        for (name, value) in &self.headers {
            let Ok(name) = ShortString::try_new(name.as_str()) else {
                continue;
            };
            let value = match value {
                Header::Text(text) => AMQPValue::LongString(text.as_str().into()),
                Header::Number(number) => AMQPValue::LongLongInt(*number),
            };
            headers.insert(name, value);
        }
        BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type(self.content_type.into())
            .with_message_id(id.to_string().into())
            .with_headers(headers)
    }
}
