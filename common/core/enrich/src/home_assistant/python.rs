//! How Python reads and writes numbers and texts, where the integration's points show it.

use serde_json::value::RawValue;

/// `float(text)`: white space around it, digits grouped by `_`, and `inf` and `nan` in any case
/// (<https://docs.python.org/3/library/functions.html#float>).
pub(super) fn float(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text.contains('_') {
        // Rust reads what Python reads, except for a sign or an exponent without digits, which
        // neither does.
        return text.parse().ok();
    }
    let bytes = text.as_bytes();
    let is_digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_digit);
    let grouped = bytes.iter().enumerate().all(|(at, byte)| {
        *byte != b'_' || (at > 0 && is_digit(bytes.get(at - 1)) && is_digit(bytes.get(at + 1)))
    });
    grouped.then(|| text.replace('_', "").parse().ok())?
}

/// The number in a text that ends in digits, by the integration's two regular expressions: at most
/// one dot, and that between digits; two digits in a row where there is none.
pub(super) fn digit_tail(text: &str) -> Option<f64> {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let mut dots = text.match_indices('.').map(|(at, _)| at);
    let matches = match (dots.next(), dots.next()) {
        (None, _) => text
            .as_bytes()
            .windows(2)
            .any(|pair| pair.iter().all(u8::is_ascii_digit)),
        (Some(dot), None) => {
            digit(text[..dot].chars().next_back()) && digit(text[dot + 1..].chars().next())
        }
        (Some(_), Some(_)) => false,
    };
    let kept = |c: &char| c.is_ascii_digit() || *c == '.';
    matches.then(|| text.chars().filter(kept).collect::<String>().parse().ok())?
}

/// `repr` of a JSON value as Python's parser would hold it.
pub(super) fn repr(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    push(json, &mut out);
    out
}

/// The same with a list as a tuple.
pub(super) fn tuple(json: &str) -> String {
    let list = repr(json);
    match list
        .strip_prefix('[')
        .and_then(|list| list.strip_suffix(']'))
    {
        Some(one) if !one.is_empty() && !one.contains(',') => format!("({one},)"),
        Some(items) => format!("({items})"),
        None => list,
    }
}

fn push(json: &str, out: &mut String) {
    match json.as_bytes().first() {
        Some(b'n') | None => out.push_str("None"),
        Some(b't') => out.push_str("True"),
        Some(b'f') => out.push_str("False"),
        Some(b'"') => match serde_json::from_str::<String>(json) {
            Ok(text) => push_text(&text, out),
            Err(_) => out.push_str(json),
        },
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                separate(number, out);
                push(item.get(), out);
            }
            out.push(']');
        }
        Some(b'{') => {
            out.push('{');
            for (number, (name, value)) in ha_event::Attributes::of_text(json).entries().enumerate()
            {
                separate(number, out);
                push_text(&name, out);
                out.push_str(": ");
                push(value, out);
            }
            out.push('}');
        }
        Some(_) => push_number(json, out),
    }
}

fn separate(number: usize, out: &mut String) {
    if number > 0 {
        out.push_str(", ");
    }
}

/// Whole numbers as they came; others with the fewest digits that tell them apart, and an exponent
/// below -4 and from 16 on.
fn push_number(json: &str, out: &mut String) {
    let is_whole = !json.contains(['.', 'e', 'E']);
    match json.parse::<f64>() {
        Ok(number) if !is_whole && number.is_finite() => {
            let scientific = format!("{number:e}");
            match scientific.split_once('e') {
                Some((digits, exponent)) => {
                    let exponent: i32 = exponent.parse().unwrap_or_default();
                    if number != 0.0 && !(-4..16).contains(&exponent) {
                        let sign = if exponent < 0 { '-' } else { '+' };
                        let size = exponent.unsigned_abs();
                        out.push_str(&format!("{digits}e{sign}{size:02}"));
                    } else {
                        out.push_str(&format!("{number:?}"));
                    }
                }
                None => out.push_str(json),
            }
        }
        _ => out.push_str(json),
    }
}

fn push_text(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c != ' ' && (c.is_control() || c.is_whitespace()) => {
                let code = u32::from(c);
                let escaped = match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    _ => format!("\\u{code:04x}"),
                };
                out.push_str(&escaped);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right sides are what Python 3.11 printed.
    #[test]
    fn numbers_are_read_as_python_reads_them() {
        for (text, expected) in [
            ("1", Some(1.0)),
            (" 21.5\n", Some(21.5)),
            ("1_000", Some(1000.0)),
            ("1__0", None),
            ("_1", None),
            ("1_.5", None),
            ("+.5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("0x10", None),
            ("", None),
            ("1,5", None),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("iNf", Some(f64::INFINITY)),
        ] {
            assert_eq!(float(text), expected, "{text}");
        }
        assert!(float("NaN").is_some_and(f64::is_nan));
    }

    #[test]
    fn the_digits_at_the_end_of_a_text() {
        for (text, expected) in [
            ("120 km/h", Some(120.0)),
            ("v2.14 beta", Some(2.14)),
            ("(255, 0, 0)", Some(25500.0)),
            ("(5, 0, 0)", None),
            ("(30.5, 94.1)", None),
            ("a1", None),
            ("a.12", None),
            ("on", None),
            (
                "2026-11-22T02:33:49.926123+00:00",
                Some(20_261_122_023_349.926),
            ),
        ] {
            let found = digit_tail(text);
            assert_eq!(found.map(f64::trunc), expected.map(f64::trunc), "{text}");
        }
    }

    #[test]
    fn values_are_written_as_python_writes_them() {
        for (json, expected) in [
            ("null", "None"),
            (r#"[1, "a", true, null]"#, "[1, 'a', True, None]"),
            (r#"{"b":1.0,"a":{"c":[]}}"#, "{'b': 1.0, 'a': {'c': []}}"),
            (r#"["it's"]"#, r#"["it's"]"#),
            (r#"["it's \"it\""]"#, r#"['it\'s "it"']"#),
            (r#"["a\\b\n\u0001\u00a0ü♥"]"#, r"['a\\b\n\x01\xa0ü♥']"),
            (
                "[1e16,1e15,0.0001,0.00001,-0.0,1.5e300]",
                "[1e+16, 1000000000000000.0, 0.0001, 1e-05, -0.0, 1.5e+300]",
            ),
            ("[12345678901234567890]", "[12345678901234567890]"),
        ] {
            assert_eq!(repr(json), expected);
        }
        assert_eq!(tuple("[30.5, 94]"), "(30.5, 94)");
        assert_eq!(tuple("[1]"), "(1,)");
        assert_eq!(tuple("null"), "None");
    }
}
