//! Conflicts of types, as the database's messages tell them.

/// A conflict of types as the message tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict<'a> {
    pub(super) field: &'a str,
    /// InfluxDB 3 does not say it.
    pub(super) measurement: Option<&'a str>,
    /// The type that was refused.
    pub(super) kind: &'a str,
}

/// `input field "F" on measurement "M" is type T, already exists as type U` (1.x, 2.x), or `invalid
/// column type for column 'F', expected iox::column_type::field::U, got iox::column_type::field::T`
/// (3).
pub(super) fn conflict(message: &str) -> Option<Conflict<'_>> {
    let word = |text: &'_ str| {
        let end = text.find(|char: char| !char.is_ascii_alphabetic());
        end.unwrap_or(text.len())
    };
    if let Some((field, rest)) = named_field(message) {
        let (measurement, rest) = rest.split_once("\" is type ")?;
        return Some(Conflict {
            field,
            measurement: Some(measurement),
            kind: &rest[..word(rest)],
        });
    }
    let (_, rest) = message.split_once("invalid column type for column '")?;
    let (field, rest) = rest.split_once("', expected ")?;
    let (_, rest) = rest.split_once("got iox::column_type::")?;
    let kind = rest.strip_prefix("field::").unwrap_or(rest);
    Some(Conflict {
        field,
        measurement: None,
        kind: &kind[..word(kind)],
    })
}

/// The field of `input field "F" on measurement "` (1.x, 2.x), and what follows.
pub(super) fn named_field(message: &str) -> Option<(&str, &str)> {
    let (_, rest) = message.split_once("input field \"")?;
    rest.split_once("\" on measurement \"")
}

/// InfluxDB's name for the type of the value at the beginning of this text.
pub(super) fn type_of(value: &[u8]) -> &'static str {
    match value.first() {
        Some(b'"') => "string",
        Some(b't' | b'T' | b'f' | b'F') => "boolean",
        _ => {
            let end = value
                .iter()
                .position(|byte| matches!(byte, b',' | b' '))
                .unwrap_or(value.len());
            if value[..end].ends_with(b"i") {
                "integer"
            } else {
                "float"
            }
        }
    }
}
