//! InfluxDB's line protocol
//! (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>), one line a point.
//!
//! The format cannot carry everything in names and tags: there is no way to write a line break, and
//! a backslash before a separator is read differently by InfluxDB 1, 2 and 3. There, control
//! characters become spaces, and a backslash at the end or before a separator becomes a slash.
//! String fields carry every text unchanged.

use crate::{Point, Prefix, Value};

const MEASUREMENT: &[u8] = b", ";
const NAME: &[u8] = b",= ";

/// Appends a sealed point as one line, its line break included.
pub fn encode_line(point: &Point<'_>, out: &mut Vec<u8>) {
    // A line that begins with # is a comment.
    if point.measurement.starts_with('#') {
        out.push(b'\\');
    }
    push_escaped(out, &point.measurement, MEASUREMENT);
    for (name, value) in &point.tags {
        out.push(b',');
        push_escaped(out, name, NAME);
        out.push(b'=');
        push_escaped(out, value, NAME);
    }
    let mut separator = b' ';
    for (key, value) in &point.fields {
        out.push(separator);
        separator = b',';
        match key.prefix {
            Prefix::Own | Prefix::Foreign => {}
            // Of a length that is known here, which costs no call.
            Prefix::Attribute => out.extend_from_slice(b"attr_"),
            Prefix::Text => out.extend_from_slice(b"text_"),
        }
        match key.prefix {
            Prefix::Own => out.extend_from_slice(key.name.as_bytes()),
            _ => push_escaped(out, &key.name, NAME),
        }
        out.push(b'=');
        push_value(out, value);
    }
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(point.time_ns).as_bytes());
    out.push(b'\n');
}

fn push_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Float(number) => push_float(out, *number),
        Value::Integer(number) => {
            out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
            out.push(b'i');
        }
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Text(text) => {
            out.push(b'"');
            let mut rest = text.as_bytes();
            while let Some(at) = first_of(rest, [b'"', b'\\']) {
                out.extend_from_slice(&rest[..at]);
                out.extend_from_slice(&[b'\\', rest[at]]);
                rest = &rest[at + 1..];
            }
            out.extend_from_slice(rest);
            out.push(b'"');
        }
    }
}

/// As ryu writes it, for the numbers that homes have in less than half its time.
fn push_float(out: &mut Vec<u8>, number: f64) {
    let whole = number as i64;
    if whole as f64 == number
        && whole.unsigned_abs() < 1 << 53
        && (whole != 0 || !number.is_sign_negative())
    {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        out.extend_from_slice(b".0");
    } else if let Some(millionths) = millionths(number) {
        push_millionths(out, millionths);
    } else {
        out.extend_from_slice(ryu::Buffer::new().format_finite(number).as_bytes());
    }
}

/// The number in millionths, if it is the float next to a whole number of them. Both have at most
/// fifteen digits then, and no two decimals of fifteen digits have the same float next to them: it
/// is the shortest, but for zeros at its end.
fn millionths(number: f64) -> Option<i64> {
    // Smaller ones are written with an exponent, larger ones have more digits.
    if !(1e-3..1e9).contains(&number.abs()) {
        return None;
    }
    let millionths = (number * 1e6).round();
    (millionths / 1e6 == number).then_some(millionths as i64)
}

fn push_millionths(out: &mut Vec<u8>, millionths: i64) {
    if millionths < 0 {
        out.push(b'-');
    }
    let all = millionths.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(all / 1_000_000).as_bytes());
    // A point, six digits, and the zeros at the end left out.
    let mut digits = *b".000000";
    let mut rest = all % 1_000_000;
    for digit in digits[1..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    let end = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
    out.extend_from_slice(&digits[..=end]);
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The place of the first of these bytes, eight looked at together.
fn first_of<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Option<usize> {
    let (eights, rest) = bytes.as_chunks::<8>();
    for (number, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        let found = wanted.iter().fold(0, |found, byte| {
            let differs = word ^ (ONES * u64::from(*byte));
            // A borrow can set bits behind the first place only.
            found | differs.wrapping_sub(ONES) & !differs
        }) & HIGHS;
        if found != 0 {
            return Some(number * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let at = rest.iter().position(|byte| wanted.contains(byte))?;
    Some(eights.len() * 8 + at)
}

/// Bytes that stand for themselves everywhere: one look a byte, for every name and tag of every
/// point.
static PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = !matches!(byte as u8, 0..=b' ' | 0x7f | b'\\' | b',' | b'=');
        byte += 1;
    }
    plain
};

fn push_escaped(out: &mut Vec<u8>, text: &str, special: &[u8]) {
    if text.bytes().all(|byte| PLAIN[usize::from(byte)]) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let is_special = |byte: u8| matches!(byte, ..b' ' | 0x7f) || special.contains(&byte);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            ..b' ' | 0x7f => out.extend_from_slice(b"\\ "),
            b'\\' if bytes.peek().is_none_or(|next| is_special(*next)) => out.push(b'/'),
            _ if special.contains(&byte) => out.extend_from_slice(&[b'\\', byte]),
            _ => out.push(byte),
        }
    }
}

impl Point<'_> {
    /// The point as one line without its line break, for people and tests.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut out = Vec::new();
        encode_line(self, &mut out);
        out.pop();
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use influxdb_line_protocol::{FieldValue, parse_lines};
    use proptest::prelude::*;

    fn line(build: impl Fn(&mut Point<'static>)) -> String {
        let mut point = Point::new("m", 7);
        build(&mut point);
        assert!(point.seal());
        point.to_line()
    }

    #[test]
    fn goldens() {
        assert_eq!(
            line(|p| {
                p.tag("z", "last");
                p.tag("a b", "c,d=e f");
                p.tag("empty", "");
                p.field("value", Value::Float(21.5));
                p.field("count", Value::Integer(-3));
                p.field("available", Value::Boolean(false));
                p.prefixed(
                    Prefix::Text,
                    "title".into(),
                    Value::Text("say \"hi\" \\ back\nnext ♥".into()),
                );
                p.prefixed(Prefix::Attribute, "x=y".into(), Value::Float(1e300));
            }),
            "m,a\\ b=c\\,d\\=e\\ f,z=last attr_x\\=y=1e300,available=false,count=-3i,\
             text_title=\"say \\\"hi\\\" \\\\ back\nnext ♥\",value=21.5 7"
        );
    }

    #[test]
    fn what_the_format_cannot_carry_is_replaced_not_passed_on() {
        assert_eq!(
            line(|p| {
                p.tag("t", "ends with \\");
                p.tag("n", "two\nlines");
                p.tag("only", "\\");
                p.float("value", f64::NAN);
                p.float("other", f64::INFINITY);
                p.field("state", Value::Text("nan".into()));
            }),
            "m,n=two\\ lines,only=/,t=ends\\ with\\ / state=\"nan\" 7"
        );
        let mut nothing = Point::new("m", 7);
        nothing.field("value", Value::Float(f64::NEG_INFINITY));
        assert!(
            !nothing.seal(),
            "a point without fields is refused before it is written"
        );
    }

    #[test]
    fn of_two_fields_with_one_name_the_first_stays() {
        assert_eq!(
            line(|p| {
                p.prefixed(Prefix::Attribute, "a".into(), Value::Float(1.0));
                p.prefixed(Prefix::Attribute, "a".into(), Value::Float(2.0));
            }),
            "m attr_a=1.0 7"
        );
    }

    proptest! {
        #[test]
        fn floats_are_written_as_ryu_writes_them(
            number in prop_oneof![
                any::<f64>().prop_filter("finite", |number| number.is_finite()),
                (any::<i32>(), 0..9).prop_map(|(digits, places)| f64::from(digits) / 10_f64.powi(places)),
                (any::<i64>(), 0..9).prop_map(|(digits, places)| digits as f64 / 10_f64.powi(places)),
                (-1e10..1e10_f64),
                (-1.0..1.0_f64),
            ],
        ) {
            let mut out = Vec::new();
            push_float(&mut out, number);
            let mut ryu = ryu::Buffer::new();
            prop_assert_eq!(std::str::from_utf8(&out).unwrap(), ryu.format_finite(number));
        }

        #[test]
        fn influx_datas_own_parser_reads_the_same_point(
            tag in "[^\\\\\\p{Cc}]{1,12}",
            name in "[^\\\\\\p{Cc}]{1,12}",
            text in any::<String>(),
            number in proptest::num::f64::NORMAL | proptest::num::f64::ZERO,
            integer: i64,
            time_ns in 0_i64..i64::MAX,
        ) {
            let mut point = Point::new("home_assistant_events", time_ns);
            point.tag("entity_id", tag.as_str());
            point.prefixed(Prefix::Attribute, name.as_str().into(), Value::Float(number));
            point.prefixed(Prefix::Text, name.as_str().into(), Value::Text(text.as_str().into()));
            point.field("sequence", Value::Integer(integer));
            prop_assert!(point.seal());
            let line = point.to_line();
            let parsed: Vec<_> = parse_lines(&line).collect();
            prop_assert_eq!(parsed.len(), 1, "{}", line);
            let parsed = parsed.into_iter().next().unwrap().unwrap();
            prop_assert_eq!(parsed.timestamp, Some(time_ns));
            prop_assert_eq!(parsed.tag_value("entity_id").unwrap().as_str(), tag.as_str());
            let field = |key: &str| parsed.field_value(key).cloned();
            match field(&format!("attr_{name}")) {
                Some(FieldValue::F64(found)) => prop_assert_eq!(found, number),
                other => prop_assert!(false, "{other:?}"),
            }
            match field(&format!("text_{name}")) {
                Some(FieldValue::String(found)) => prop_assert_eq!(found.as_str(), text.as_str()),
                other => prop_assert!(false, "{other:?}"),
            }
            match field("sequence") {
                Some(FieldValue::I64(found)) => prop_assert_eq!(found, integer),
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn any_names_make_one_readable_line(tag: String, key: String, name: String, text: String) {
            let mut point = Point::new("m", 1);
            point.tag(tag.clone(), key.clone());
            point.tag(key, tag);
            point.prefixed(Prefix::Attribute, name.into(), Value::Float(1.0));
            point.field("state", Value::Text(text.into()));
            prop_assert!(point.seal());
            let line = point.to_line();
            let parsed: Vec<_> = parse_lines(&line).collect();
            prop_assert_eq!(parsed.len(), 1, "{}", line);
            prop_assert!(parsed[0].is_ok(), "{}: {:?}", line, parsed[0]);
        }

        #[test]
        fn fields_stand_in_the_order_of_their_whole_names(names in proptest::collection::vec("[a-z_]{1,6}", 1..12)) {
            let mut point = Point::new("m", 1);
            for (index, name) in names.iter().enumerate() {
                let prefix = if index % 2 == 0 { Prefix::Attribute } else { Prefix::Text };
                point.prefixed(prefix, name.as_str().into(), Value::Float(1.0));
            }
            for name in ["state", "value", "available", "origin", "attr", "weather_condition"] {
                point.field(name, Value::Float(1.0));
            }
            point.seal();
            let joined: Vec<_> = point.fields.iter().map(|(key, _)| key.joined()).collect();
            let mut sorted = joined.clone();
            sorted.sort();
            prop_assert_eq!(joined, sorted);
        }
    }
}
