//! A state's attributes: any JSON object, read lazily and typed per value.

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The attributes of one state, as the JSON text that came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    json: &'a str,
}

/// One attribute value, typed by its JSON type.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    /// JSON null.
    Null,
    /// JSON true or false.
    Boolean(bool),
    /// Any JSON number; integers past 2^53 lose their last digits.
    Number(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// A list or an object, as its JSON text.
    Json(&'a str),
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(raw: Option<&'a RawValue>) -> Self {
        Self {
            json: raw.map_or("", RawValue::get),
        }
    }

    /// The JSON text; empty where the state had no attributes.
    #[must_use]
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// Names and values in the order in which they came, values still as JSON text. Attributes that
    /// are no object (or cannot be read) are no entries: the state itself is still worth storing.
    #[must_use]
    pub fn entries(&self) -> Vec<(Cow<'a, str>, &'a str)> {
        serde_json::from_str::<Entries<'a>>(self.json)
            .map(|entries| entries.0)
            .unwrap_or_default()
    }

    /// The text of one attribute, without reading the others into memory.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        if !self.json.contains(name) {
            return None;
        }
        self.entries()
            .into_iter()
            .find(|(key, _)| key == name)
            .and_then(|(_, value)| match Scalar::parse(value) {
                Scalar::Text(text) => Some(text),
                _ => None,
            })
    }
}

impl<'a> Scalar<'a> {
    /// Types one JSON value.
    #[must_use]
    pub fn parse(json: &'a str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<Text<'a>>(json)
                .map_or(Self::Json(json), |text| Self::Text(text.0)),
            Some(b't') => Self::Boolean(true),
            Some(b'f') => Self::Boolean(false),
            Some(b'n') | None => Self::Null,
            Some(b'{' | b'[') => Self::Json(json),
            Some(_) => match json.parse::<f64>() {
                Ok(number) if number.is_finite() => Self::Number(number),
                _ => Self::Json(json),
            },
        }
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Entries<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(16);
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    entries.push((key.0, map.next_value::<&'de RawValue>()?.get()));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(json: &str) -> Attributes<'_> {
        Attributes { json }
    }

    #[test]
    fn values_are_typed_by_their_json_type() {
        let json = r#"{"a":1,"b":-2.5e3,"c":true,"d":null,"e":"x\"y","f":[1,{"g":null}],"h":{}}"#;
        let typed: Vec<_> = attributes(json)
            .entries()
            .into_iter()
            .map(|(_, value)| Scalar::parse(value))
            .collect();
        assert_eq!(
            typed,
            [
                Scalar::Number(1.0),
                Scalar::Number(-2500.0),
                Scalar::Boolean(true),
                Scalar::Null,
                Scalar::Text("x\"y".into()),
                Scalar::Json(r#"[1,{"g":null}]"#),
                Scalar::Json("{}"),
            ]
        );
    }

    #[test]
    fn attributes_that_are_no_object_are_no_entries() {
        for json in ["", "null", "[1]", "7", "\"x\""] {
            assert!(attributes(json).entries().is_empty(), "{json}");
        }
    }

    #[test]
    fn one_text_is_found() {
        let all = attributes(r#"{"x":"device_class","device_class":"motion","n":1}"#);
        assert_eq!(all.text("device_class").as_deref(), Some("motion"));
        assert_eq!(all.text("n"), None);
        assert_eq!(all.text("absent"), None);
    }
}
