//! A text with events in it, and the facts of each, found in one pass.

use crate::Facts;
use crate::state_changed::{facts_at, is_plain};

/// A text with events in it.
#[derive(Debug, Clone, Copy)]
pub struct EventText<'a> {
    text: &'a str,
    is_plain: bool,
}

impl<'a> EventText<'a> {
    /// Looks once over the text.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let is_plain = is_plain(text);
        Self { text, is_plain }
    }

    /// The facts of the event that begins at this byte, and the place behind it. `None` where it is
    /// no `state_changed` event, is written in another way, or is no JSON: then
    /// [`peek`](crate::peek) decides.
    #[must_use]
    pub fn facts_at(&self, at: usize) -> Option<(Facts, usize)> {
        facts_at(self.text, at, self.is_plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peek;

    const EVENT: &str = r#"{"event_type":"state_changed","data":{"entity_id":"light.a","old_state":null,"new_state":{"entity_id":"light.a","state":"o\"n","attributes":{"last_updated":"x","n":[{"a":1}]},"last_changed":"b","last_updated":"1970-01-01T00:00:01+00:00","context":{"id":"c","parent_id":null,"user_id":null}}},"origin":"LOCAL","time_fired":"1970-01-01T00:00:02+00:00","context":{"id":"c","parent_id":null,"user_id":null}}"#;

    fn facts(text: &str) -> Option<(Facts, usize)> {
        EventText::new(text).facts_at(0)
    }

    #[test]
    fn facts_are_those_of_a_peek() {
        let removed = EVENT.replace(
            &EVENT[EVENT.find("{\"entity_id\":\"light.a\",\"state\"").unwrap()
                ..EVENT.find("},\"origin\"").unwrap()],
            "null",
        );
        let plain = EVENT.replace("o\\\"n", "on");
        let no_time = plain.replace("1970-01-01T00:00:01+00:00", "never");
        for text in [EVENT, &plain, &removed, &no_time] {
            let (facts, end) = facts(text).unwrap();
            assert_eq!(end, text.len());
            assert_eq!(facts.of(text.as_bytes()), peek(text.as_bytes()).ok());
        }
        let behind = format!("[{EVENT},{plain}]");
        let text = EventText::new(&behind);
        let (_, end) = text.facts_at(1).unwrap();
        let (second, end) = text.facts_at(end + 1).unwrap();
        assert_eq!(end, behind.len() - 1);
        let json = &behind.as_bytes()[EVENT.len() + 2..end];
        assert_eq!(second.of(json), peek(json).ok());
    }

    #[test]
    fn what_is_written_in_another_way_is_left_to_peek() {
        for (from, to) in [
            ("state_changed", "call_service"),
            ("light.a", "light.\\u0061"),
            ("\"old_state\"", " \"old_state\""),
            ("[{\"a\":1}]", "[{\"a\":1}"),
            ("\"n\":[{\"a\":1}]", "\"n\":01"),
            ("LOCAL", "LOCAL\n"),
        ] {
            assert_eq!(facts(&EVENT.replace(from, to)), None, "{to}");
        }
        for end in 0..EVENT.len() {
            assert_eq!(facts(&EVENT[..end]), None, "cut at {end}");
        }
    }
}
