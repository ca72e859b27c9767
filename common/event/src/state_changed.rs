//! The whole event, borrowed.

use crate::{Attributes, EventError, UtcMicros};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An event of any type.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A state was written, changed or removed.
    StateChanged(Box<StateChanged<'a>>),
    /// Any other event on Home Assistant's bus.
    Bus(BusEvent<'a>),
}

/// Home Assistant's `state_changed`.
#[derive(Debug, Clone)]
pub struct StateChanged<'a> {
    /// `domain.object_id`.
    pub entity_id: Cow<'a, str>,
    /// Absent when the entity was created.
    pub old_state: Option<State<'a>>,
    /// Absent when the entity was removed.
    pub new_state: Option<State<'a>>,
    /// When the event was fired, if the event says.
    pub time_fired: Option<UtcMicros>,
    /// Who caused it.
    pub context: Context<'a>,
}

/// One state of an entity.
#[derive(Debug, Clone)]
pub struct State<'a> {
    /// The state as Home Assistant gives it, at most 255 characters there.
    pub state: Cow<'a, str>,
    /// Its attributes, not yet typed.
    pub attributes: Attributes<'a>,
    /// When the state last took another value.
    pub last_changed: Option<UtcMicros>,
    /// When the state or an attribute last took another value.
    pub last_updated: Option<UtcMicros>,
}

/// Home Assistant's context: what caused an event.
#[derive(Debug, Clone, Default)]
pub struct Context<'a> {
    /// A ULID.
    pub id: Option<Cow<'a, str>>,
    /// The context that this one follows from.
    pub parent_id: Option<Cow<'a, str>>,
    /// The user behind it.
    pub user_id: Option<Cow<'a, str>>,
}

/// An event of another type than `state_changed`.
#[derive(Debug, Clone)]
pub struct BusEvent<'a> {
    /// `call_service`, `automation_triggered`, …
    pub event_type: Cow<'a, str>,
    /// The event's data as it came.
    pub data: Option<&'a RawValue>,
    /// When it was fired.
    pub time_fired: UtcMicros,
    /// Who caused it.
    pub context: Context<'a>,
}

impl StateChanged<'_> {
    /// The part of the entity id before the dot.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.entity_id
            .split_once('.')
            .map_or("", |(domain, _)| domain)
    }

    /// The point's time: the new state's `last_updated`, `time_fired` where there is none.
    #[must_use]
    pub fn source_time(&self) -> Option<UtcMicros> {
        self.new_state
            .as_ref()
            .and_then(|state| state.last_updated)
            .or(self.time_fired)
    }
}

/// A text that borrows where it can, also behind an `Option` (serde borrows a bare `Cow` only).
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    time_fired: Option<Text<'a>>,
    #[serde(borrow, default)]
    context: Option<WireContext<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    entity_id: Cow<'a, str>,
    #[serde(borrow, default)]
    old_state: Option<WireState<'a>>,
    #[serde(borrow, default)]
    new_state: Option<WireState<'a>>,
}

#[derive(Deserialize)]
struct WireState<'a> {
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow, default)]
    attributes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    last_changed: Option<Text<'a>>,
    #[serde(borrow, default)]
    last_updated: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct WireContext<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    parent_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    user_id: Option<Text<'a>>,
}

/// Parses one event, borrowing from `json`.
///
/// # Errors
/// [`EventError`]: what is not an event, in the words that its dead letter will carry.
pub fn parse(json: &[u8]) -> Result<Event<'_>, EventError> {
    let envelope: Envelope<'_> = serde_json::from_slice(json)?;
    let context = envelope.context.map(context).unwrap_or_default();
    let time_fired = time("time_fired", envelope.time_fired)?;
    if envelope.event_type != "state_changed" {
        let time_fired = time_fired.ok_or_else(|| missing("time_fired"))?;
        return Ok(Event::Bus(BusEvent {
            event_type: envelope.event_type,
            data: envelope.data,
            time_fired,
            context,
        }));
    }
    let raw = envelope.data.ok_or_else(|| missing("data"))?;
    let data: Data<'_> = serde_json::from_str(raw.get())?;
    if !is_entity_id(&data.entity_id) {
        return Err(EventError::EntityId(
            data.entity_id.chars().take(255).collect(),
        ));
    }
    if data.old_state.is_none() && data.new_state.is_none() {
        return Err(EventError::NoState {
            entity_id: data.entity_id.into_owned(),
        });
    }
    let event = StateChanged {
        entity_id: data.entity_id,
        old_state: data.old_state.map(state).transpose()?,
        new_state: data.new_state.map(state).transpose()?,
        time_fired,
        context,
    };
    if event.source_time().is_none() {
        return Err(missing("last_updated"));
    }
    Ok(Event::StateChanged(Box::new(event)))
}

fn missing(field: &'static str) -> EventError {
    EventError::Shape(serde::de::Error::missing_field(field))
}

fn time(field: &'static str, text: Option<Text<'_>>) -> Result<Option<UtcMicros>, EventError> {
    text.map(|text| UtcMicros::parse(&text.0))
        .transpose()
        .map_err(|source| EventError::Time { field, source })
}

fn state(wire: WireState<'_>) -> Result<State<'_>, EventError> {
    Ok(State {
        state: wire.state,
        attributes: Attributes::new(wire.attributes),
        last_changed: time("last_changed", wire.last_changed)?,
        last_updated: time("last_updated", wire.last_updated)?,
    })
}

fn context(wire: WireContext<'_>) -> Context<'_> {
    Context {
        id: wire.id.map(|text| text.0),
        parent_id: wire.parent_id.map(|text| text.0),
        user_id: wire.user_id.map(|text| text.0),
    }
}

/// A domain and an object id, both present, and nothing that Home Assistant's own rule forbids to
/// the point of making the id unusable as a tag. The strict rule is a validation flag, not a gate.
fn is_entity_id(text: &str) -> bool {
    text.len() <= 255
        && text.split_once('.').is_some_and(|(domain, object)| {
            !domain.is_empty() && !object.is_empty() && !text.chars().any(char::is_control)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIGHT: &str = r#"{"event_type":"state_changed","data":{"entity_id":"light.kitchen","old_state":null,
        "new_state":{"entity_id":"light.kitchen","state":"o\"n","attributes":{"brightness":7},
        "last_changed":"1970-01-01T00:00:01+00:00","last_updated":"1970-01-01T00:00:02.000003+00:00","context":{}}},
        "origin":"LOCAL","time_fired":"1970-01-01T00:00:03+00:00","context":{"id":"01","parent_id":null,"user_id":"u"}}"#;

    #[test]
    fn a_state_change_is_read_whole() {
        let Event::StateChanged(event) = parse(LIGHT.as_bytes()).unwrap() else {
            panic!("type")
        };
        assert_eq!(
            (event.domain(), event.entity_id.as_ref()),
            ("light", "light.kitchen")
        );
        assert_eq!(event.source_time(), Some(UtcMicros(2_000_003)));
        assert_eq!(event.new_state.as_ref().unwrap().state, "o\"n");
        assert!(event.old_state.is_none());
        assert_eq!(event.context.user_id.as_deref(), Some("u"));
        assert!(
            matches!(event.context.id, Some(Cow::Borrowed("01"))),
            "borrowed, not copied"
        );
    }

    #[test]
    fn what_is_no_event_says_why() {
        for (json, says) in [
            ("{", "EOF"),
            (r#"{"event_type":"state_changed"}"#, "data"),
            (
                r#"{"event_type":"state_changed","data":{"entity_id":"nodot","new_state":null}}"#,
                "domain.object_id",
            ),
            (
                r#"{"event_type":"state_changed","data":{"entity_id":"a.b","new_state":null}}"#,
                "neither",
            ),
            (
                r#"{"event_type":"state_changed","data":{"entity_id":"a.b","new_state":{"state":5}}}"#,
                "string",
            ),
            (
                r#"{"event_type":"state_changed","data":{"entity_id":"a.b","new_state":{"state":"5"}}}"#,
                "last_updated",
            ),
            (
                r#"{"event_type":"state_changed","data":{"entity_id":"a.b","new_state":{"state":"5","last_updated":"x"}}}"#,
                "RFC 3339",
            ),
            (r#"{"event_type":"call_service","data":{}}"#, "time_fired"),
        ] {
            let error = parse(json.as_bytes()).expect_err(json).to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = crate::peek(&bytes);
        }

        #[test]
        fn no_cut_or_changed_byte_panics(cut in 0..LIGHT.len(), at in 0..LIGHT.len(), byte: u8) {
            let _ = parse(&LIGHT.as_bytes()[..cut]);
            let mut bytes = LIGHT.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = parse(&bytes);
            let _ = crate::peek(&bytes);
        }
    }
}
