//! The whole event, borrowed.

mod scan;
mod wire;

use crate::time::Times;
use crate::{Attributes, Entry, EventError, ParseTimeError, UtcMicros};
use serde_json::value::RawValue;
use std::borrow::Cow;
use wire::{Data, Text, Wire, WireContext, WireState};

pub(crate) use scan::{facts as facts_at, is_plain};
pub(crate) use wire::STATE_CHANGED;

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
    /// Who caused it; read when asked for.
    pub context: RawContext<'a>,
}

/// One state of an entity.
#[derive(Debug, Clone)]
pub struct State<'a> {
    /// The entity that the state says it is of; Home Assistant repeats it in every state.
    pub entity_id: Option<Cow<'a, str>>,
    /// The state as Home Assistant gives it, at most 255 characters there.
    pub state: Cow<'a, str>,
    /// Its attributes, not yet typed.
    pub attributes: Attributes<'a>,
    /// The attributes, split, in the order in which they came. None where they are no object, and none of
    /// an old state whose attributes are byte for byte the new one's, which has them.
    pub entries: Vec<Entry<'a>>,
    /// When the state last took another value; absent too where it cannot be read, since nothing
    /// of the point's identity depends on it.
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

/// A context that is read only where it is written: by default it is not.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawContext<'a>(Option<&'a str>);

/// An event of another type than `state_changed`.
#[derive(Debug, Clone)]
pub struct BusEvent<'a> {
    /// `call_service`, `automation_triggered`, …
    pub event_type: Cow<'a, str>,
    /// The event's data as it came.
    pub data: Option<&'a RawValue>,
    /// When it was fired.
    pub time_fired: UtcMicros,
    /// Who caused it; read when asked for.
    pub context: RawContext<'a>,
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

impl<'a> RawContext<'a> {
    /// The context; empty where there is none, or another shape than Home Assistant's.
    #[must_use]
    pub fn read(&self) -> Context<'a> {
        let wire = self
            .0
            .and_then(|raw| serde_json::from_str::<WireContext<'a>>(raw).ok());
        wire.map_or_else(Context::default, |wire| Context {
            id: wire.id.map(|text| text.0),
            parent_id: wire.parent_id.map(|text| text.0),
            user_id: wire.user_id.map(|text| text.0),
        })
    }
}

/// Parses one event, borrowing from `json`.
///
/// # Errors
/// [`EventError`]: what is not an event, in the words that its dead letter will carry.
pub fn parse(json: &[u8]) -> Result<Event<'_>, EventError> {
    // Checked once as a whole; serde_json would check it string by string.
    let wire: Wire<'_> = match simdutf8::basic::from_utf8(json) {
        Ok(text) => match scan::state_changed(text) {
            Some(wire) => wire,
            None => serde_json::from_str(text)?,
        },
        // For the error that names the place.
        Err(_) => serde_json::from_slice(json)?,
    };
    let context = RawContext(wire.context);
    if let Some(data) = wire.state_changed {
        return state_changed(data, wire.time_fired, context);
    }
    let time_fired = time(&mut Times::default(), "time_fired", wire.time_fired)?;
    Ok(Event::Bus(BusEvent {
        event_type: wire.event_type,
        data: wire.data,
        time_fired: time_fired.ok_or_else(|| missing("time_fired"))?,
        context,
    }))
}

fn state_changed<'a>(
    data: Data<'a>,
    time_fired: Option<Text<'a>>,
    context: RawContext<'a>,
) -> Result<Event<'a>, EventError> {
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
    // The point's time must be read or refused; the other times are facts like any other.
    let mut times = Times::default();
    let new_state = match data.new_state {
        Some(mut wire) => {
            let updated = time(&mut times, "last_updated", wire.last_updated.take())?;
            let mut new = state(&mut times, wire);
            new.last_updated = updated;
            Some(new)
        }
        None => None,
    };
    let time_fired = match &new_state {
        Some(State {
            last_updated: Some(_),
            ..
        }) => lenient(&mut times, time_fired),
        _ => time(&mut times, "time_fired", time_fired)?,
    };
    let event = StateChanged {
        entity_id: data.entity_id,
        old_state: data.old_state.map(|old| state(&mut times, old)),
        new_state,
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

fn time(
    times: &mut Times,
    field: &'static str,
    text: Option<Text<'_>>,
) -> Result<Option<UtcMicros>, EventError> {
    let parsed = text.map(|text| times.parse(&text.0)).transpose();
    parsed.map_err(|source: ParseTimeError| EventError::Time { field, source })
}

fn lenient(times: &mut Times, text: Option<Text<'_>>) -> Option<UtcMicros> {
    text.and_then(|text| times.parse(&text.0).ok())
}

fn state<'a>(times: &mut Times, wire: WireState<'a>) -> State<'a> {
    let attributes = Attributes::new(wire.attributes);
    let entries = wire
        .entries
        .unwrap_or_else(|| attributes.entries().collect());
    State {
        entries,
        entity_id: wire.entity_id.map(|text| text.0),
        state: wire.state,
        attributes,
        last_changed: lenient(times, wire.last_changed),
        last_updated: lenient(times, wire.last_updated),
    }
}

/// A domain and an object id, both present, and nothing that Home Assistant's own rule forbids to
/// the point of making the id unusable as a tag. The strict rule is a validation flag, not a gate.
fn is_entity_id(text: &str) -> bool {
    text.len() <= 255
        && text.split_once('.').is_some_and(|(domain, object)| {
            let is_plain = |byte: u8| matches!(byte, b' '..=b'~');
            // Looked at byte by byte, as all ids of Home Assistant can be, it is cheaper.
            let is_printable = || text.bytes().all(is_plain) || !text.chars().any(char::is_control);
            !domain.is_empty() && !object.is_empty() && is_printable()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything of it, attributes split.
    fn shown(wire: Wire<'_>, text: &str) -> String {
        let data = wire.state_changed.unwrap();
        let of_new = data.new_state.as_ref().and_then(|new| new.attributes);
        let state = |wire: WireState<'_>, is_old: bool| {
            let given = wire.entries.clone();
            let split: Vec<_> = Attributes::new(wire.attributes).entries().collect();
            let has_new = is_old && wire.attributes == of_new;
            let is_right = |given: Vec<_>| given == split || has_new && given.is_empty();
            assert!(given.is_none_or(is_right), "{text}");
            let texts = [wire.entity_id, wire.last_changed, wire.last_updated];
            let texts = texts.map(|text| text.map(|text| text.0));
            format!("{:?} {:?} {texts:?}", wire.state, wire.attributes)
        };
        let states = [
            data.old_state.map(|old| state(old, true)),
            data.new_state.map(|new| state(new, false)),
        ];
        let fired = wire.time_fired.map(|text| text.0);
        format!("{} {states:?} {fired:?} {:?}", data.entity_id, wire.context)
    }

    /// Events with every odd thing that JSON allows, in Home Assistant's order most of the time.
    fn any_event_text() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
            any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
            "\"[a-z\\\\/é♥]{0,4}(\\\\u[0-9a-fA-F]{4})?[ -~]{0,3}\"",
            Just(r#"{"a":[1,{"b":null},[]], "c" : {} }"#.to_owned()),
            Just("[\n]".to_owned()),
        ];
        let text = prop_oneof![
            4 => Just("\"2026-11-21T21:42:14.010254+00:00\"".to_owned()),
            1 => value.clone(),
        ];
        let name = prop_oneof![
            "[a-z]{1,8}",
            Just("a\\u00e9".to_owned()),
            Just("state".to_owned())
        ];
        let attributes =
            proptest::collection::vec((name, value.clone()), 0..5).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\": {value}"))
                    .collect();
                format!("{{{}}}", members.join(" ,"))
            });
        let attributes = prop_oneof![5 => attributes, 1 => value.clone()];
        let context = prop_oneof![4 => Just("{\"id\":\"01M8\"}".to_owned()), 1 => value.clone()];
        let more = proptest::option::weighted(0.1, value.clone());
        let state = (text.clone(), attributes, text.clone(), text.clone(), context.clone(), more, any::<bool>())
            .prop_map(|(state, attributes, changed, updated, context, more, is_newer)| {
                let more = more.map(|more| format!(",\"state\":{more}")).unwrap_or_default();
                let reported = if is_newer { format!("\"last_reported\":{updated},") } else { String::new() };
                format!(r#"{{"entity_id":"light.a","state":{state},"attributes":{attributes},"last_changed":{changed},{reported}"last_updated":{updated},"context":{context}{more}}}"#)
            });
        let state = prop_oneof![6 => state, 1 => Just("null".to_owned()), 1 => value.clone()];
        let rarely = || proptest::bool::weighted(0.1);
        // Home Assistant writes no white space; of two states in an event most is the same.
        let both = (state.clone(), state, any::<bool>())
            .prop_map(|(old, new, is_same)| (old.clone(), if is_same { old } else { new }));
        (both, text, context, rarely(), rarely()).prop_map(
            |((old, new), fired, context, is_late, is_wide)| {
                let (first, last) = (r#""event_type":"state_changed","#, r#","event_type":"state_changed""#);
                let (first, last) = if is_late { ("", last) } else { (first, "") };
                let (line, end) = if is_wide { ("\n", " ") } else { ("", "") };
                format!("{{{first}\"data\":{{\"entity_id\":\"light.a\",\"old_state\":{old},{line}\"new_state\":{new}}},\"origin\":\"LOCAL\",\"time_fired\":{fired},\"context\":{context}{last}}}{end}")
            },
        )
    }

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
        assert_eq!(event.context.read().user_id.as_deref(), Some("u"));
        assert!(
            matches!(event.context.read().id, Some(Cow::Borrowed("01"))),
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
            (
                r#"{"event_type":"a","data":{},"event_type":"state_changed"}"#,
                "duplicate",
            ),
            (
                r#"{"data":{"entity_id":"nodot","new_state":null},"event_type":"state_changed"}"#,
                "domain.object_id",
            ),
        ] {
            let error = parse(json.as_bytes()).expect_err(json).to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn only_the_time_of_the_point_must_be_readable() {
        let json = LIGHT
            .replace("1970-01-01T00:00:01+00:00", "yesterday")
            .replace("1970-01-01T00:00:03+00:00", "")
            .replace(r#""context":{"id""#, r#""context":[{"id""#)
            .replace(r#""user_id":"u"}"#, r#""user_id":"u"}]"#);
        let Event::StateChanged(event) = parse(json.as_bytes()).unwrap() else {
            panic!("type")
        };
        assert_eq!(event.source_time(), Some(UtcMicros(2_000_003)));
        assert_eq!(event.new_state.as_ref().unwrap().last_changed, None);
        assert_eq!((event.time_fired, event.context.read().id), (None, None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = crate::peek(&bytes);
        }

        #[test]
        fn the_short_way_reads_what_the_general_parser_reads(
            text in any_event_text(),
            cut in proptest::option::weighted(0.2, 0..400_usize),
            change in proptest::option::weighted(0.4, (0..400_usize, "[\\PC\n\"\\\\{}\\[\\]:,0-9eE.+nu-]")),
        ) {
            let mut text = text;
            if let Some((at, with)) = change
                && text.is_char_boundary(at % text.len())
                && let Some(old) = text[at % text.len()..].chars().next()
            {
                let at = at % text.len();
                text.replace_range(at..at + old.len_utf8(), &with);
            }
            if let Some(cut) = cut {
                text.truncate((0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap());
            }
            let general = serde_json::from_str::<Wire<'_>>(&text).map_err(|error| error.to_string());
            if let Some(short) = scan::state_changed(&text) {
                // Where it answers, the general parser answers the same; it need not answer.
                let general = general.map(|wire| shown(wire, &text));
                prop_assert_eq!(Ok(shown(short, &text)), general, "{}", text);
            }
            if let Some((facts, end)) = crate::EventText::new(&text).facts_at(0) {
                let event = &text.as_bytes()[..end];
                prop_assert_eq!(facts.of(event), crate::peek(event).ok(), "{}", text);
            }
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
