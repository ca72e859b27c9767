//! What the producer needs of an event before it hands it on: enough to filter and to remember how
//! far the stream was read, without parsing states and attributes.

use crate::state_changed::STATE_CHANGED;
use crate::{EventError, UtcMicros};
use serde::Deserialize;
use std::borrow::Cow;

/// The few facts of an event that decide what happens to it before enrichment.
#[derive(Debug, Clone, PartialEq)]
pub struct Peek<'a> {
    /// `state_changed`, `call_service`, …
    pub event_type: Cow<'a, str>,
    /// The text under `data.entity_id`. Only in a `state_changed` event is it sure to name an
    /// entity; events of other types put any text there.
    pub entity_id: Option<Cow<'a, str>>,
    /// The new state's `last_updated`, or `time_fired` where there is none; absent if unreadable.
    pub source_time: Option<UtcMicros>,
}

impl Peek<'_> {
    /// Whether this is a `state_changed` event.
    #[must_use]
    pub fn is_state_change(&self) -> bool {
        self.event_type == STATE_CHANGED
    }
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow, default)]
    time_fired: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    entity_id: Option<MaybeText<'a>>,
    #[serde(borrow, default)]
    new_state: Option<NewState<'a>>,
}

#[derive(Deserialize)]
struct NewState<'a> {
    #[serde(borrow, default)]
    last_updated: Option<MaybeText<'a>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Other event types put lists and numbers where `state_changed` has a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum MaybeText<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct OnlyType<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow, default)]
    time_fired: Option<Text<'a>>,
}

/// Reads the facts of one event from its JSON.
///
/// # Errors
/// Bytes that are not JSON, or have no `event_type`.
pub fn peek(json: &[u8]) -> Result<Peek<'_>, EventError> {
    match serde_json::from_slice::<Outer<'_>>(json) {
        Ok(outer) => {
            let (entity_id, updated) = match outer.data {
                Some(data) => (data.entity_id, data.new_state.and_then(|s| s.last_updated)),
                None => (None, None),
            };
            let text = |value: Option<MaybeText<'_>>| match value {
                Some(MaybeText::Text(text)) => UtcMicros::parse(&text).ok(),
                _ => None,
            };
            Ok(Peek {
                event_type: outer.event_type,
                entity_id: match entity_id {
                    Some(MaybeText::Text(text)) => Some(text),
                    _ => None,
                },
                source_time: text(updated).or_else(|| fired(outer.time_fired)),
            })
        }
        // The data of another event type may have any shape.
        Err(error) => match serde_json::from_slice::<OnlyType<'_>>(json) {
            Ok(only) => Ok(Peek {
                event_type: only.event_type,
                entity_id: None,
                source_time: fired(only.time_fired),
            }),
            Err(_) => Err(error.into()),
        },
    }
}

fn fired(text: Option<Text<'_>>) -> Option<UtcMicros> {
    text.and_then(|text| UtcMicros::parse(&text.0).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_changed_and_other_events_are_read() {
        let peeked = peek(br#"{"event_type":"state_changed","data":{"entity_id":"light.a","old_state":{"x":[1]},
            "new_state":{"state":"on","last_updated":"1970-01-01T00:00:01+00:00"}},"time_fired":"1970-01-01T00:00:02+00:00"}"#).unwrap();
        assert_eq!(peeked.entity_id.as_deref(), Some("light.a"));
        assert_eq!(peeked.source_time, Some(UtcMicros(1_000_000)));

        let removed = peek(br#"{"event_type":"state_changed","data":{"entity_id":"light.a","new_state":null},"time_fired":"1970-01-01T00:00:02+00:00"}"#).unwrap();
        assert_eq!(removed.source_time, Some(UtcMicros(2_000_000)));

        let bus = peek(br#"{"event_type":"call_service","data":{"entity_id":["a.b"],"new_state":7},"time_fired":"1970-01-01T00:00:02+00:00"}"#).unwrap();
        assert_eq!(
            (bus.event_type.as_ref(), bus.entity_id),
            ("call_service", None)
        );
        assert_eq!(bus.source_time, Some(UtcMicros(2_000_000)));
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for json in [
            "",
            "null",
            "[]",
            "{}",
            "{\"event_type\":7}",
            "not json",
            "{\"event_type\":\"a\"",
        ] {
            assert!(peek(json.as_bytes()).is_err(), "{json}");
        }
    }
}
