//! Walks over a JSON object that has been checked already.
//!
//! serde_json has read the whole event once and vouches for the text; reading the attributes a
//! second time with a full parser would cost as much as the first. This walk only finds where names
//! and values begin and end. It never panics, whatever the text: at the first thing that no JSON
//! object holds, it ends.

use super::text_of;
use std::borrow::Cow;

/// Names and values of a JSON object, in their order; values as JSON text.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Entries<'a> {
    pub(super) fn new(json: &'a str) -> Self {
        // Past the end where there is no object: no entries.
        let at = if json.as_bytes().first() == Some(&b'{') {
            1
        } else {
            json.len()
        };
        Self { json, at }
    }

    fn entry(&mut self) -> Option<(Cow<'a, str>, &'a str)> {
        let bytes = self.json.as_bytes();
        let name_start = skip(bytes, self.at, b',')?;
        if bytes[name_start] != b'"' {
            return None;
        }
        let (name_end, is_escaped) = end_of_string(bytes, name_start)?;
        let value_start = skip(bytes, name_end, b':')?;
        let value_end = end_of_value(bytes, value_start)?;
        self.at = value_end;
        let name = if is_escaped {
            text_of(self.json.get(name_start..name_end)?)?
        } else {
            Cow::Borrowed(self.json.get(name_start + 1..name_end - 1)?)
        };
        Some((name, self.json.get(value_start..value_end)?))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Cow<'a, str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entry();
        if entry.is_none() {
            self.at = self.json.len();
        }
        entry
    }
}

/// The place of the first byte from `at` on that is neither white space nor the separator.
fn skip(bytes: &[u8], at: usize, separator: u8) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let is_content =
        |byte: &u8| *byte != separator && !matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    rest.iter().position(is_content).map(|found| at + found)
}

/// The place behind the string that begins at `start`, and whether anything in it is escaped.
fn end_of_string(bytes: &[u8], start: usize) -> Option<(usize, bool)> {
    let mut at = start + 1;
    let mut is_escaped = false;
    loop {
        let found = quote_or_escape(bytes, at)?;
        if bytes[found] == b'"' {
            return Some((found + 1, is_escaped));
        }
        is_escaped = true;
        // The escaped byte, which may be a quote.
        at = found + 2;
    }
}

/// Most names and texts are shorter than what a vectorised search needs to pay for itself.
const SHORT_BYTES: usize = 24;

fn quote_or_escape(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let is_found = |byte: &u8| matches!(byte, b'"' | b'\\');
    let short = rest.iter().take(SHORT_BYTES).position(is_found);
    let found = short.or_else(|| {
        let long = memchr::memchr2(b'"', b'\\', rest.get(SHORT_BYTES..)?)?;
        Some(SHORT_BYTES + long)
    });
    found.map(|found| at + found)
}

/// The place behind the value that begins at `start`.
fn end_of_value(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => end_of_string(bytes, start).map(|(end, _)| end),
        b'{' | b'[' => end_of_nested(bytes, start),
        _ => {
            let is_end =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
            let length = bytes[start..].iter().position(is_end)?;
            (length > 0).then_some(start + length)
        }
    }
}

fn end_of_nested(bytes: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = end_of_string(bytes, at)?.0;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
            any::<String>().prop_map(Value::from),
            "[\\\\\"{}\\[\\],:]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_walk_finds_what_the_parser_finds(
            map in proptest::collection::btree_map("[\\PC\\\\\"]{0,8}", any_json(), 0..6),
            pretty: bool,
        ) {
            let map: Map<String, Value> = map.into_iter().collect();
            let value = Value::Object(map.clone());
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            let found: Map<String, Value> = Entries::new(&text)
                .map(|(name, value)| (name.into_owned(), serde_json::from_str(value).unwrap()))
                .collect();
            prop_assert_eq!(found, map);
        }

        #[test]
        fn no_text_panics(text in "[{}\\[\\]\":,\\\\a0 é]{0,40}") {
            prop_assert!(Entries::new(&text).count() <= text.len());
        }
    }
}
