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
    while let Some((message, behind)) = usual_event(&seen, bytes, at) {
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
fn usual_event(text: &EventText<'_>, bytes: &[u8], at: usize) -> Option<(EventMessage, usize)> {
    let mut rest = bytes.get(at..)?.strip_prefix(b"{")?;
    let mut id = None;
    if let Some(behind) = rest.strip_prefix(b"\"id\":") {
        let (first, behind) = number(behind)?;
        (id, rest) = (Some(first), behind.strip_prefix(b",")?);
    }
    let rest = rest.strip_prefix(b"\"type\":\"event\",\"event\":")?;
    let start = bytes.len() - rest.len();
    let (facts, end) = text.facts_at(start)?;
    let mut rest = bytes.get(end..)?;
    if id.is_none() {
        let (last, behind) = number(rest.strip_prefix(b",\"id\":")?)?;
        (id, rest) = (Some(last), behind);
    }
    let rest = rest.strip_prefix(b"}")?;
    let message = EventMessage {
        subscription_id: id?,
        event: start..end,
        facts,
    };
    Some((message, bytes.len() - rest.len()))
}

/// A number without a sign that begins here, and what stands behind it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    let (digits, behind) = bytes.split_at(digits.count());
    let (b'1'..=b'9', 1..=19) = (*digits.first()?, digits.len()) else {
        return None;
    };
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
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
