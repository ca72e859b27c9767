//! Takes an encoded line apart, so that fields can be left out of it.

use std::borrow::Cow;

/// The parts of one line that [`encode_line`](crate::encode_line) wrote. Names are as they stand in
/// the line, escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineParts<'a> {
    /// The measurement and the tags.
    pub series: &'a [u8],
    /// The fields, in their order.
    pub fields: Vec<LineField<'a>>,
    /// The time, without the line break.
    pub time: &'a [u8],
}

/// A field of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineField<'a> {
    /// The name, escaped.
    pub name: &'a [u8],
    /// The value as the line has it: quoted, or with the mark of its type.
    pub value: &'a [u8],
}

impl<'a> LineParts<'a> {
    /// The parts; `None` for what is not a line of ours.
    #[must_use]
    pub fn of(line: &'a [u8]) -> Option<Self> {
        let (parts, rest) = Self::first_of(line)?;
        rest.is_empty().then_some(parts)
    }

    /// The parts of the first of several lines, and the other lines.
    #[must_use]
    pub fn first_of(line: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (series, mut rest) = line.split_at(unescaped_end(line, b" ")?);
        let mut fields = Vec::with_capacity(16);
        loop {
            // The separator in front of the field: a space, or a comma between two.
            rest = &rest[1..];
            let equals = unescaped_end(rest, b"=")?;
            let name = &rest[..equals];
            rest = &rest[equals + 1..];
            let end = value_end(rest)?;
            fields.push(LineField {
                name,
                value: &rest[..end],
            });
            rest = &rest[end..];
            match rest.first()? {
                b',' => {}
                b' ' => break,
                _ => return None,
            }
        }
        let time = &rest[1..];
        let end = time.iter().position(|byte| *byte == b'\n');
        let end = end.unwrap_or(time.len());
        let parts = Self {
            series,
            fields,
            time: &time[..end],
        };
        Some((parts, time.get(end + 1..).unwrap_or_default()))
    }

    /// The measurement, escaped.
    #[must_use]
    pub fn measurement(&self) -> &'a [u8] {
        let end = unescaped_end(self.series, b",").unwrap_or(self.series.len());
        &self.series[..end]
    }

    /// Appends the line with its line break.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.series);
        let mut separator = b' ';
        for field in &self.fields {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(field.name);
            out.push(b'=');
            out.extend_from_slice(field.value);
        }
        out.push(b' ');
        out.extend_from_slice(self.time);
        out.push(b'\n');
    }
}

impl<'a> LineField<'a> {
    /// The name without escapes, as the encoder was given it. (Of several backslashes in a row
    /// databases keep one or all.)
    #[must_use]
    pub fn plain_name(&self) -> Cow<'a, str> {
        if !self.name.contains(&b'\\') {
            return String::from_utf8_lossy(self.name);
        }
        let mut plain = Vec::with_capacity(self.name.len());
        let mut bytes = self.name.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let is_escape = byte == b'\\' && matches!(bytes.peek(), Some(b',' | b'=' | b' '));
            if !is_escape {
                plain.push(byte);
            }
        }
        String::from_utf8_lossy(&plain).into_owned().into()
    }
}

/// The place of the first of this byte that no backslash stands before. (A backslash before a
/// separator is always its escape: the encoder replaces every other one.)
fn unescaped_end(text: &[u8], separator: &[u8; 1]) -> Option<usize> {
    let is_end = |at: &usize| text[*at] == separator[0] && (*at == 0 || text[at - 1] != b'\\');
    (0..text.len()).find(is_end)
}

/// The end of the value at the beginning of this text.
fn value_end(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return text.iter().position(|byte| matches!(byte, b',' | b' '));
    }
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Point, Prefix, Value, encode_line};
    use influxdb_line_protocol::parse_lines;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_taken_apart_and_put_together() {
        let line = b"\\#m\\,\\ x,a\\ b=c\\,d,e=\"f\" attr_x\\=y=1e300,t=\"a,b \\\"c\\\\\\\" =1\nd\",v=2i -7\n";
        let parts = LineParts::of(line).unwrap();
        assert_eq!(parts.measurement(), b"\\#m\\,\\ x");
        assert_eq!(parts.time, b"-7");
        let fields: Vec<_> = parts
            .fields
            .iter()
            .map(|field| (field.plain_name(), field.value))
            .collect();
        assert_eq!(
            fields,
            [
                ("attr_x=y".into(), b"1e300".as_slice()),
                ("t".into(), b"\"a,b \\\"c\\\\\\\" =1\nd\""),
                ("v".into(), b"2i"),
            ]
        );
        let mut again = Vec::new();
        parts.write(&mut again);
        assert_eq!(again, line);
        again.extend_from_slice(b"m v=1 7\n");
        let (first, rest) = LineParts::first_of(&again).unwrap();
        assert_eq!((first, rest), (parts, b"m v=1 7\n".as_slice()));
        assert_eq!(LineParts::of(&again), None, "two lines");
    }

    #[test]
    fn what_is_not_a_line_has_no_parts() {
        for text in [
            "",
            "m",
            "m ",
            "m v",
            "m v=",
            "m v=1",
            "m v=\"1 7",
            "m v=\"1\"x 7",
            "m v=\"1\\",
        ] {
            assert_eq!(LineParts::of(text.as_bytes()), None, "{text}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value<'static>> {
        prop_oneof![
            (proptest::num::f64::NORMAL | proptest::num::f64::ZERO).prop_map(Value::Float),
            any::<i64>().prop_map(Value::Integer),
            any::<bool>().prop_map(Value::Boolean),
            any::<String>().prop_map(|text| Value::Text(text.into())),
            "[ ,=\"\\\\\na-b]{0,8}".prop_map(|text| Value::Text(text.into())),
        ]
    }

    proptest! {
        /// InfluxData's own parser reads the shortened line as the whole one without the field.
        #[test]
        fn without_a_field_the_rest_is_the_same_point(
            measurement in "[^\\p{Cc}]{1,8}",
            tags in proptest::collection::vec((any::<String>(), any::<String>()), 0..4),
            fields in proptest::collection::vec(("[ ,=\"\\\\a-d♥]{1,6}|\\PC{1,6}", any_value()), 2..8),
            place: proptest::sample::Index,
            time_ns: i64,
        ) {
            let mut point = Point::new(measurement, time_ns);
            for (name, value) in tags {
                point.tag(name, value);
            }
            for (name, value) in fields {
                point.prefixed(Prefix::Attribute, name.into(), value);
            }
            prop_assume!(point.seal());
            let mut line = Vec::new();
            encode_line(&point, &mut line);
            let mut parts = LineParts::of(&line).unwrap();
            let mut again = Vec::new();
            parts.write(&mut again);
            prop_assert_eq!(&again, &line);

            let read = |line: &[u8]| {
                let text = String::from_utf8(line.to_vec()).unwrap();
                let parsed: Vec<_> = parse_lines(&text).collect();
                assert_eq!(parsed.len(), 1, "{text}");
                let parsed = parsed.into_iter().next().unwrap().unwrap();
                let fields: Vec<(String, String)> = parsed.field_set.iter()
                    .map(|(name, value)| (name.to_string(), format!("{value:?}")))
                    .collect();
                (parsed.series.to_string(), parsed.timestamp, fields)
            };
            let mut whole = read(&line);
            // Of two backslashes that parser makes one, and we send what the attribute is called.
            let names: Vec<_> = parts.fields.iter().map(|field| field.plain_name().replace('\\', "")).collect();
            let names_read: Vec<_> = whole.2.iter().map(|(name, _)| name.replace('\\', "")).collect();
            prop_assert_eq!(names, names_read);
            let at = place.index(parts.fields.len());
            prop_assume!(parts.fields.len() > 1);
            parts.fields.remove(at);
            whole.2.remove(at);
            let mut shorter = Vec::new();
            parts.write(&mut shorter);
            prop_assert_eq!(read(&shorter), whole);
        }
    }
}
