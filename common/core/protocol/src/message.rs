//! Reading a text: one message, or, coalesced, an array of them.

use ha_event::{EventText, Facts};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// One message, borrowed. Only the id and the type are typed; the rest stays JSON, so that a field
/// of an unknown message type may be anything.
#[derive(Debug, Clone, Deserialize)]
pub struct Message<'a> {
    /// The id of the command or subscription that it answers.
    pub id: Option<u64>,
    /// The message type: `event`, `result`, `pong`, `auth_ok`, …
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// The event object of an `event`.
    #[serde(borrow)]
    pub event: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) success: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) ha_version: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) message: Option<&'a RawValue>,
}

/// Something that is no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadMessage<'a> {
    /// What is wrong with it.
    pub error: String,
    /// It, or the whole text where the text is no JSON.
    pub text: &'a str,
}

/// Hands every message of `text` to `each`, in order, and every element that is none as an error.
///
/// A well-formed text is read in one pass. What comes before a syntax error in an array is handed
/// over first: those messages are complete.
pub fn read_messages<'a>(text: &'a str, mut each: impl FnMut(Result<Message<'a>, BadMessage<'a>>)) {
    if text.trim_ascii_start().starts_with('[') {
        read_array(text, &mut each);
    } else {
        each(read_one(text));
    }
}

/// An event message as Home Assistant writes it, within a text.
#[derive(Debug, Clone)]
pub(crate) struct EventMessage {
    pub(crate) subscription_id: u64,
    /// Where its event stands.
    pub(crate) event: Range<usize>,
    pub(crate) facts: Facts,
}

/// Reads a text of nothing but `state_changed` events, single or coalesced, as Home Assistant
/// writes them: every one is in `events` then, checked. False for any other text, which is to be
/// read by [`read_messages`]; what is in `events` means nothing then.
pub(crate) fn read_usual_events(text: &str, events: &mut Vec<EventMessage>) -> bool {
    events.clear();
    let bytes = text.as_bytes();
    let (mut at, end) = match (bytes.first(), bytes.last()) {
        (Some(b'['), Some(b']')) => (1, bytes.len() - 1),
        (Some(b'{'), Some(b'}')) => (0, bytes.len()),
        _ => return false,
    };
    let seen = EventText::new(text);
    while let Some((message, behind)) = usual_event(&seen, text, at) {
        events.push(message);
        match bytes.get(behind) {
            _ if behind == end => return true,
            // A single message ends the text.
            Some(b',') if end < bytes.len() => at = behind + 1,
            _ => return false,
        }
    }
    false
}

/// The event message that begins here, and the place behind it. Home Assistant writes the id last,
/// older versions of it wrote it first.
fn usual_event(seen: &EventText<'_>, text: &str, at: usize) -> Option<(EventMessage, usize)> {
    let mut rest = text.get(at..)?.strip_prefix('{')?;
    let mut id = None;
    if let Some(behind) = rest.strip_prefix("\"id\":") {
        let (first, behind) = number(behind)?;
        (id, rest) = (Some(first), behind.strip_prefix(',')?);
    }
    let rest = rest.strip_prefix("\"type\":\"event\",\"event\":")?;
    let start = text.len() - rest.len();
    let (facts, end) = seen.facts_at(start)?;
    let mut rest = text.get(end..)?;
    if id.is_none() {
        let (last, behind) = number(rest.strip_prefix(",\"id\":")?)?;
        (id, rest) = (Some(last), behind);
    }
    let rest = rest.strip_prefix('}')?;
    let message = EventMessage {
        subscription_id: id?,
        event: start..end,
        facts,
    };
    Some((message, text.len() - rest.len()))
}

/// A number without a sign that begins here, and what stands behind it.
fn number(text: &str) -> Option<(u64, &str)> {
    let behind = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let digits = &text[..text.len() - behind.len()];
    // JSON's numbers do not begin with a nought, and ids are not 0.
    let number = digits.parse().ok().filter(|_| !digits.starts_with('0'))?;
    Some((number, behind))
}

fn read_one(text: &str) -> Result<Message<'_>, BadMessage<'_>> {
    serde_json::from_str::<Object<'_>>(text)
        .map(|object| object.0)
        .map_err(|error| BadMessage {
            error: error.to_string(),
            text,
        })
}

fn read_array<'a>(text: &'a str, each: &mut impl FnMut(Result<Message<'a>, BadMessage<'a>>)) {
    let mut read = 0usize;
    let whole = for_each_element(text, |object: Object<'a>| {
        read += 1;
        each(Ok(object.0));
    });
    if whole.is_ok() {
        return;
    }
    // An element that is no message leaves the parser in the middle of it: the rest is read once
    // more, by elements first.
    let mut skip = read;
    let rest = for_each_element(text, |element: &'a RawValue| {
        if skip > 0 {
            skip -= 1;
        } else {
            each(read_one(element.get()));
        }
    });
    if let Err(error) = rest {
        each(Err(BadMessage {
            error: error.to_string(),
            text,
        }));
    }
}

fn for_each_element<'a, T: Deserialize<'a>>(
    text: &'a str,
    each: impl FnMut(T),
) -> Result<(), serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_str(text);
    Elements {
        each,
        element: std::marker::PhantomData,
    }
    .deserialize(&mut parser)?;
    parser.end()
}

struct Elements<T, F> {
    each: F,
    element: std::marker::PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Elements<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Elements<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            (self.each)(element);
        }
        Ok(())
    }
}

/// A message that must be a JSON object: derived structs would take an array too, by position.
struct Object<'a>(Message<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Message::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}
