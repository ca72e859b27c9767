//! The shapes on the wire. One skip the bytes: what an event holds under `data` depends on its
//! type, which Home Assistant writes first.

use crate::attributes::Entry;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A text that borrows where it can, also behind an `Option` (serde borrows a bare `Cow` only).
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

pub(super) struct Wire<'a> {
    pub event_type: Cow<'a, str>,
    /// Of a `state_changed` event.
    pub state_changed: Option<Data<'a>>,
    /// Of any other event.
    pub data: Option<&'a RawValue>,
    pub time_fired: Option<Text<'a>>,
    pub context: Option<&'a str>,
}

#[derive(Deserialize)]
pub(super) struct Data<'a> {
    #[serde(borrow)]
    pub entity_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub old_state: Option<WireState<'a>>,
    #[serde(borrow, default)]
    pub new_state: Option<WireState<'a>>,
}

#[derive(Deserialize)]
pub(super) struct WireState<'a> {
    #[serde(borrow, default)]
    pub entity_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub state: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "raw")]
    pub attributes: Option<&'a str>,
    /// The attributes split, where that is done already.
    #[serde(skip)]
    pub entries: Option<Vec<Entry<'a>>>,
    #[serde(borrow, default)]
    pub last_changed: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub last_updated: Option<Text<'a>>,
}

/// A value's text; none for null.
fn raw<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a str>, D::Error> {
    let raw = Option::<&'de RawValue>::deserialize(deserializer)?;
    Ok(raw.map(RawValue::get))
}

#[derive(Deserialize)]
pub(super) struct WireContext<'a> {
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub parent_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub user_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    EventType,
    Data,
    TimeFired,
    Context,
    #[serde(other)]
    Other,
}

pub(crate) const STATE_CHANGED: &str = "state_changed";

impl<'de: 'a, 'a> Deserialize<'de> for Wire<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WireVisitor)
    }
}

struct WireVisitor;

impl<'de> Visitor<'de> for WireVisitor {
    type Value = Wire<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wire<'de>, A::Error> {
        let mut event_type: Option<Text<'de>> = None;
        let mut seen_data = false;
        let (mut parsed, mut raw): (Option<Data<'de>>, Option<&'de RawValue>) = (None, None);
        let (mut time_fired, mut context) = (None, None);
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::EventType if event_type.is_some() => {
                    return Err(A::Error::duplicate_field("event_type"));
                }
                Key::Data if std::mem::replace(&mut seen_data, true) => {
                    return Err(A::Error::duplicate_field("data"));
                }
                Key::EventType => event_type = Some(map.next_value()?),
                Key::Data
                    if event_type
                        .as_ref()
                        .is_some_and(|text| text.0 == STATE_CHANGED) =>
                {
                    parsed = Some(map.next_value()?);
                }
                Key::Data => raw = map.next_value()?,
                Key::TimeFired => time_fired = map.next_value()?,
                Key::Context => {
                    context = map
                        .next_value::<Option<&'de RawValue>>()?
                        .map(RawValue::get);
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let event_type = event_type
            .ok_or_else(|| A::Error::missing_field("event_type"))?
            .0;
        if event_type == STATE_CHANGED && parsed.is_none() {
            // The type came after the data.
            let raw = raw.ok_or_else(|| A::Error::missing_field("data"))?;
            parsed = Some(serde_json::from_str(raw.get()).map_err(A::Error::custom)?);
        }
        Ok(Wire {
            event_type,
            state_changed: parsed,
            data: raw,
            time_fired,
            context,
        })
    }
}
