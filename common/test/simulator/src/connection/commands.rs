//! The commands of Home Assistant's WebSocket API that the simulator knows.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Connection, Outgoing};
use crate::{
    history::Period,
    home::Home,
    machine::wall_clock_us,
    registries::{Registry, config},
};

/// One client's commands: ids must rise.
pub(super) struct Commands<'a> {
    home: &'a Home,
    connection: &'a Arc<Connection>,
    last_id: i64,
}

/// An error result: code and message.
type Refusal = (&'static str, String);

impl<'a> Commands<'a> {
    pub(super) fn new(home: &'a Home, connection: &'a Arc<Connection>) -> Self {
        Self {
            home,
            connection,
            last_id: 0,
        }
    }

    /// Answers one message, as `ActiveConnection.async_handle` does.
    pub(super) fn handle(&mut self, message: &Value) {
        let id = message["id"].as_i64().filter(|id| *id != 0);
        let (Some(id), Some(command)) =
            (id, message["type"].as_str().filter(|name| !name.is_empty()))
        else {
            let id = message.get("id").cloned().unwrap_or(match message {
                Value::Object(_) => Value::Null,
                _ => json!(0),
            });
            return self.refuse(
                &id,
                (
                    "invalid_format",
                    "Message incorrectly formatted.".to_owned(),
                ),
            );
        };
        if id <= self.last_id {
            let text = "Identifier values have to increase.".to_owned();
            return self.refuse(&json!(id), ("id_reuse", text));
        }
        let known = !self.home.is_unknown(command);
        let Some(answer) = known.then(|| self.answer(id, command, message)).flatten() else {
            // The id of an unknown command may be used again.
            return self.refuse(
                &json!(id),
                ("unknown_command", "Unknown command.".to_owned()),
            );
        };
        if let Err(refusal) = answer {
            self.refuse(&json!(id), refusal);
        }
        self.last_id = id;
    }

    /// `None` if there is no such command.
    fn answer(&self, id: i64, command: &str, message: &Value) -> Option<Result<(), Refusal>> {
        let registries = &self.home.registries;
        let answer = match command {
            "ping" => {
                let pong = json!({"id": id, "type": "pong"}).to_string();
                self.connection.push(Outgoing::Message(pong));
                Ok(())
            }
            "supported_features" => self.supported_features(id, message),
            "subscribe_events" => self.subscribe(id, message),
            "unsubscribe_events" => self.unsubscribe(id, message),
            "get_states" => {
                self.home
                    .send_states(self.connection, |states| result(id, states));
                Ok(())
            }
            "get_config" => self.succeed(id, &config(&self.home.options.ha_version).to_string()),
            "config/area_registry/list" => self.succeed(id, &registries.list(Registry::Area)),
            "config/floor_registry/list" => self.succeed(id, &registries.list(Registry::Floor)),
            "config/device_registry/list" => self.succeed(id, &registries.list(Registry::Device)),
            "config/entity_registry/list" => self.succeed(id, &registries.list(Registry::Entity)),
            "config/label_registry/list" => self.succeed(id, &registries.list(Registry::Label)),
            "history/history_during_period" => self.history(id, message),
            _ => return None,
        };
        Some(answer)
    }

    fn supported_features(&self, id: i64, message: &Value) -> Result<(), Refusal> {
        let features = message["features"]
            .as_object()
            .ok_or_else(|| missing("features", message))?;
        // Home Assistant looks only whether the name is there.
        self.connection
            .set_coalesce(features.contains_key("coalesce_messages"));
        self.succeed(id, "null")
    }

    fn subscribe(&self, id: i64, message: &Value) -> Result<(), Refusal> {
        let event_type = match &message["event_type"] {
            Value::Null if message.get("event_type").is_none() => None,
            Value::String(name) if name == "*" => None,
            Value::String(name) => Some(name.as_str()),
            _ => return Err(missing("event_type", message)),
        };
        self.home.subscribe(
            self.connection,
            id.cast_unsigned(),
            event_type,
            result(id, "null"),
        );
        Ok(())
    }

    fn unsubscribe(&self, id: i64, message: &Value) -> Result<(), Refusal> {
        let subscription = message["subscription"]
            .as_u64()
            .ok_or_else(|| missing("subscription", message))?;
        if self
            .home
            .unsubscribe(self.connection, subscription, result(id, "null"))
        {
            Ok(())
        } else {
            Err(("not_found", "Subscription not found.".to_owned()))
        }
    }

    fn history(&self, id: i64, message: &Value) -> Result<(), Refusal> {
        let flag = |name: &str, default: bool| message[name].as_bool().unwrap_or(default);
        let entity_ids = message["entity_ids"]
            .as_array()
            .ok_or_else(|| missing("entity_ids", message))?;
        let start = message["start_time"]
            .as_str()
            .ok_or_else(|| missing("start_time", message))?;
        let start_us = parse_time(start)
            .ok_or_else(|| ("invalid_start_time", "Invalid start_time".to_owned()))?;
        let end_us = match message["end_time"].as_str() {
            Some(end) if !end.is_empty() => Some(
                parse_time(end)
                    .ok_or_else(|| ("invalid_end_time", "Invalid end_time".to_owned()))?,
            ),
            _ => None,
        };
        let now_us = wall_clock_us() + self.home.clock_offset_us();
        if start_us > now_us {
            return self.succeed(id, "{}");
        }
        let ids: Vec<String> = entity_ids
            .iter()
            .map(|id| id.as_str().unwrap_or_default().to_owned())
            .collect();
        if !ids.iter().all(|id| is_entity_id(id)) {
            return Err(("invalid_entity_ids", "Invalid entity_ids".to_owned()));
        }
        let entities = self.home.find_entities(ids);
        let delay_us = i64::try_from(self.home.options.history_commit_delay.as_micros());
        let period = Period {
            start_us,
            end_us,
            committed_until_us: match delay_us {
                Ok(0) => i64::MAX,
                Ok(delay_us) => now_us.saturating_sub(delay_us),
                Err(_) => i64::MIN,
            },
            include_start_time_state: flag("include_start_time_state", true),
            significant_changes_only: flag("significant_changes_only", true),
            minimal_response: flag("minimal_response", false),
            no_attributes: flag("no_attributes", false),
        };
        self.succeed(id, &self.home.history.during_period(&period, &entities))
    }

    fn succeed(&self, id: i64, json: &str) -> Result<(), Refusal> {
        self.connection.push(Outgoing::Message(result(id, json)));
        Ok(())
    }

    fn refuse(&self, id: &Value, (code, text): Refusal) {
        let error = json!({"code": code, "message": text});
        let refusal = json!({"id": id, "type": "result", "success": false, "error": error});
        self.connection.push(Outgoing::Message(refusal.to_string()));
    }
}

fn result(id: i64, json: &str) -> String {
    format!(r#"{{"id":{id},"type":"result","success":true,"result":{json}}}"#)
}

/// What voluptuous says of a missing or wrong key.
fn missing(key: &str, message: &Value) -> Refusal {
    let text = match message.get(key) {
        None => format!("required key not provided @ data['{key}']. Got None"),
        Some(value) => {
            format!("not a valid value for dictionary value @ data['{key}']. Got {value}")
        }
    };
    ("invalid_format", text)
}

/// ISO 8601 with an offset, or without one: then it is the home's time, which is UTC.
fn parse_time(text: &str) -> Option<i64> {
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

/// Home Assistant's `valid_entity_id`, but for its ban on leading and trailing underscores.
fn is_entity_id(text: &str) -> bool {
    let valid = |part: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        !part.is_empty() && part.chars().all(allowed)
    };
    text.split_once('.')
        .is_some_and(|(domain, object)| valid(domain) && valid(object))
}
