//! Encoded points that wait to be written.

use crate::json::{Row, encode_row};
use crate::{Point, encode_line};
use std::sync::Arc;

/// Which encoding the sink takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// InfluxDB's line protocol, nanoseconds.
    LineProtocol,
    /// Rows for the embedded database.
    Rows,
}

/// Lines of line protocol in one piece of memory, which can be shared with who compresses it.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Arc<Vec<u8>>,
    ends: Vec<usize>,
}

/// Encoded points, in the order in which they were pushed.
#[derive(Debug)]
pub enum PointBuffer {
    /// For InfluxDB.
    Lines(Lines),
    /// For SQLite.
    Rows(Vec<Row>),
}

impl PointBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new(format: Format) -> Self {
        match format {
            Format::LineProtocol => Self::Lines(Lines::default()),
            Format::Rows => Self::Rows(Vec::new()),
        }
    }

    /// An empty buffer with room for as much as this one holds.
    #[must_use]
    pub fn of_same_size(&self) -> Self {
        match self {
            Self::Lines(lines) => Self::Lines(Lines {
                bytes: Arc::new(Vec::with_capacity(lines.bytes.len())),
                ends: Vec::with_capacity(lines.ends.len()),
            }),
            Self::Rows(rows) => Self::Rows(Vec::with_capacity(rows.len())),
        }
    }

    /// Seals and encodes a point. False (and nothing kept) if the point has no field to write.
    pub fn push(&mut self, mut point: Point<'_>) -> bool {
        if !point.seal() {
            return false;
        }
        match self {
            Self::Lines(lines) => {
                encode_line(&point, Arc::make_mut(&mut lines.bytes));
                lines.ends.push(lines.bytes.len());
            }
            Self::Rows(rows) => rows.push(encode_row(&point)),
        }
        true
    }

    /// Points held.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.ends.len(),
            Self::Rows(rows) => rows.len(),
        }
    }

    /// Nothing held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the encoded points.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.bytes.len(),
            Self::Rows(rows) => rows
                .iter()
                .map(|row| row.tags.len() + row.fields.len())
                .sum(),
        }
    }

    /// Forgets every point from the given one on: an event that failed half way leaves nothing.
    pub fn truncate(&mut self, points: usize) {
        match self {
            Self::Lines(lines) => {
                lines.ends.truncate(points);
                let end = lines.ends.last().copied().unwrap_or(0);
                Arc::make_mut(&mut lines.bytes).truncate(end);
            }
            Self::Rows(rows) => rows.truncate(points),
        }
    }
}

impl Lines {
    /// All lines, each with its line break.
    #[must_use]
    pub fn bytes(&self) -> &Arc<Vec<u8>> {
        &self.bytes
    }

    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// No lines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of the lines `from..to`; empty if there are none such.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> &[u8] {
        let start = from
            .checked_sub(1)
            .map_or(Some(0), |before| self.ends.get(before).copied());
        let end = to
            .checked_sub(1)
            .map_or(Some(0), |last| self.ends.get(last).copied());
        match (start, end) {
            (Some(start), Some(end)) if start <= end => &self.bytes[start..end],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Prefix, Value};

    fn point(text: &str) -> Point<'_> {
        let mut point = Point::new("m", 5);
        point.tag("b", text);
        point.tag("a", "\"q\"");
        point.field("state", Value::Text(text.into()));
        point.prefixed(Prefix::Attribute, "n".into(), Value::Float(1.5));
        point.field("on", Value::Boolean(true));
        point
    }

    #[test]
    fn lines_are_sliced_by_number_and_cut_back() {
        let mut buffer = PointBuffer::new(Format::LineProtocol);
        for text in ["one", "two\nlines", "three"] {
            assert!(buffer.push(point(text)));
        }
        buffer.truncate(2);
        let PointBuffer::Lines(lines) = &buffer else {
            panic!()
        };
        assert_eq!(lines.len(), 2);
        assert!(lines.slice(0, 1).starts_with(b"m,a=\"q\",b=one "));
        assert!(lines.slice(1, 2).ends_with(b" 5\n"));
        assert_eq!(lines.slice(0, 2), lines.bytes().as_slice());
        let next = buffer.of_same_size();
        assert!(next.is_empty() && next.bytes_len() == 0);
        assert_eq!(lines.slice(1, 1), b"");
        assert_eq!(lines.slice(2, 9), b"");
    }

    #[test]
    fn rows_are_json_with_sorted_keys() {
        let mut buffer = PointBuffer::new(Format::Rows);
        buffer.push(point("x\"\\\u{1}♥"));
        let PointBuffer::Rows(rows) = &buffer else {
            panic!()
        };
        assert_eq!(rows[0].tags, r#"{"a":"\"q\"","b":"x\"\\\u0001♥"}"#);
        assert_eq!(
            rows[0].fields,
            r#"{"attr_n":1.5,"on":true,"state":"x\"\\\u0001♥"}"#
        );
    }
}
