//! A point as a row of the embedded database: tags and fields as JSON objects.

use crate::{Point, Value};

/// A row of the embedded database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The measurement.
    pub measurement: String,
    /// Tags as a JSON object with sorted keys: part of the row's identity.
    pub tags: String,
    /// Fields as a JSON object.
    pub fields: String,
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
}

/// Encodes a sealed point.
pub(crate) fn encode_row(point: &Point<'_>) -> Row {
    let mut tags = String::from("{");
    for (name, value) in &point.tags {
        separate(&mut tags);
        push_text(&mut tags, name);
        tags.push(':');
        push_text(&mut tags, value);
    }
    tags.push('}');
    let mut fields = String::from("{");
    for (key, value) in &point.fields {
        separate(&mut fields);
        if key.prefix.as_str().is_empty() {
            push_text(&mut fields, &key.name);
        } else {
            push_text(&mut fields, &key.joined());
        }
        fields.push(':');
        match value {
            Value::Float(number) => fields.push_str(ryu::Buffer::new().format_finite(*number)),
            Value::Integer(number) => fields.push_str(itoa::Buffer::new().format(*number)),
            Value::Boolean(value) => fields.push_str(if *value { "true" } else { "false" }),
            Value::Text(text) => push_text(&mut fields, text),
        }
    }
    fields.push('}');
    Row {
        measurement: point.measurement.clone().into_owned(),
        tags,
        fields,
        time_ns: point.time_ns,
    }
}

fn separate(json: &mut String) {
    if json.len() > 1 {
        json.push(',');
    }
}

fn push_text(json: &mut String, text: &str) {
    json.push_str(&serde_json::Value::from(text).to_string());
}
