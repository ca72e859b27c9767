//! A state's attributes: any JSON object, read lazily and typed per value.

mod entries;

pub use entries::Entries;

use serde::Deserialize;
use std::borrow::Cow;

/// The attributes of one state, as the JSON text that came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    json: &'a str,
}

/// The name of an attribute, and its value as JSON text.
pub type Entry<'a> = (Cow<'a, str>, &'a str);

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
    /// A list or an object, as its JSON text; also a number that no float can hold (`1e999`).
    Json(&'a str),
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(raw: Option<&'a str>) -> Self {
        Self {
            json: raw.unwrap_or_default(),
        }
    }

    /// The attributes in a text that travelled on its own, such as those of the weather facts. A
    /// text that is no JSON object has no entries, or those before its first defect.
    #[must_use]
    pub fn of_text(json: &'a str) -> Self {
        Self {
            json: json.trim_ascii(),
        }
    }

    /// The JSON text; empty where the state had no attributes.
    #[must_use]
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// Whether the attributes are an object, null or absent, as Home Assistant's are. Others are
    /// no entries: the state itself is still worth storing.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self.json.as_bytes().first(), Some(b'{' | b'n') | None)
    }

    /// Names and values in the order in which they came, values still as JSON text. Attributes that
    /// are no object are no entries.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        Entries::new(self.json)
    }

    /// One attribute, without reading the others into memory.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Scalar<'a>> {
        self.entries()
            .find(|(key, _)| key == name)
            .map(|(_, value)| Scalar::parse(value))
    }

    /// The text of one attribute.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        match self.get(name)? {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> Scalar<'a> {
    /// Types one JSON value.
    #[must_use]
    pub fn parse(json: &'a str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => text_of(json).map_or(Self::Json(json), Self::Text),
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

    /// The number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// The text that a JSON string stands for; borrowed where nothing is escaped.
pub(crate) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<Text<'_>>(json)
        .ok()
        .map(|text| text.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(json: &str) -> Attributes<'_> {
        Attributes { json }
    }

    #[test]
    fn values_are_typed_by_their_json_type() {
        let json = r#"{"a":1,"b":-2.5e3,"c":true,"d":null,"e":"x\"y","f":[1,{"g":null}],"h":{},"i":1e999}"#;
        let typed: Vec<_> = attributes(json)
            .entries()
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
                Scalar::Json("1e999"),
            ]
        );
    }

    #[test]
    fn attributes_that_are_no_object_are_no_entries() {
        for (json, is_object) in [
            ("", true),
            ("null", true),
            ("[1]", false),
            ("7", false),
            ("\"x\"", false),
        ] {
            assert_eq!(attributes(json).entries().count(), 0, "{json}");
            assert_eq!(attributes(json).is_object(), is_object, "{json}");
        }
    }

    #[test]
    fn one_text_is_found() {
        let all = attributes(r#"{"x":"device_class","device_class":"motion","n":1}"#);
        assert_eq!(all.text("device_class").as_deref(), Some("motion"));
        assert_eq!(all.text("n"), None);
        assert_eq!(all.get("n").and_then(|n| n.number()), Some(1.0));
        assert_eq!(all.text("absent"), None);
    }
}
