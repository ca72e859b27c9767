//! JSON by hand for the hot path: what Home Assistant's serializer (orjson) would write.

use std::fmt::Write as _;

/// Length of a ULID's text.
pub(crate) const ULID_CHARS: usize = 26;

/// The digits of a ULID, of five bits each.
pub const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Appends `text` as a JSON string. Like orjson, only what JSON demands is escaped.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte != b'"' && byte != b'\\' && byte >= 0x20 {
            continue;
        }
        out.push_str(&text[plain_from..at]);
        plain_from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

/// Appends `time_us` (microseconds since the epoch) as Python's `isoformat()` writes it: the
/// fraction is left out when it is zero.
pub(crate) fn push_time(out: &mut String, time_us: i64) {
    let (second, micros) = (time_us.div_euclid(1_000_000), time_us.rem_euclid(1_000_000));
    let (days, in_day) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"0000-00-00T00:00:00.000000";
    put_digits(&mut text[0..4], year);
    put_digits(&mut text[5..7], month);
    put_digits(&mut text[8..10], day);
    put_digits(&mut text[11..13], in_day / 3_600);
    put_digits(&mut text[14..16], in_day / 60 % 60);
    put_digits(&mut text[17..19], in_day % 60);
    put_digits(&mut text[20..26], micros);
    push_ascii(out, if micros == 0 { &text[..19] } else { &text });
    out.push_str("+00:00");
}

/// Appends `value / 10^decimals`, decimals kept, as a sensor writes its state.
pub(crate) fn push_fixed(out: &mut String, value: i64, decimals: u32) {
    if decimals == 0 {
        let _ = write!(out, "{value}");
        return;
    }
    let scale = 10_i64.pow(decimals);
    let sign = if value < 0 { "-" } else { "" };
    let (whole, fraction) = (value.abs() / scale, value.abs() % scale);
    let _ = write!(
        out,
        "{sign}{whole}.{fraction:0width$}",
        width = decimals as usize
    );
}

/// Appends a ULID: 48 bits of milliseconds and 80 random bits in Crockford's base 32, which is what
/// Home Assistant's context ids are.
pub(crate) fn push_ulid(out: &mut String, time_ms: u64, random: u128) {
    let mut text = [0; ULID_CHARS];
    // 128-bit shifts are slow: the random part is cut in two.
    let halves = [(random >> 40) as u64, random as u64];
    for (index, slot) in text.iter_mut().enumerate() {
        let bits = match index {
            0..10 => time_ms >> (45 - 5 * index),
            10..18 => halves[0] >> (35 - 5 * (index - 10)),
            _ => halves[1] >> (35 - 5 * (index - 18)),
        };
        *slot = CROCKFORD[(bits & 31) as usize];
    }
    push_ascii(out, &text);
}

/// Appends the float of seconds that compressed history rows carry. Since 2026.11 Home Assistant
/// sends the clock's own float, which has more than six decimals.
pub(crate) fn push_seconds(out: &mut String, time_us: i64) {
    let _ = write!(out, "{:?}", unrounded(time_us));
}

/// A float that Python's `datetime.fromtimestamp` rounds to `time_us`: one of the five nearest to
/// it, so that most are not the nearest and some lie just at the edge of the microsecond.
fn unrounded(time_us: i64) -> f64 {
    let nearest = time_us as f64 / 1e6;
    let near = match time_us.rem_euclid(5) {
        0 => nearest.next_down().next_down(),
        1 => nearest.next_down(),
        2 => nearest,
        3 => nearest.next_up(),
        _ => nearest.next_up().next_up(),
    };
    let read_us = near.trunc() as i64 * 1_000_000 + (near.fract() * 1e6).round_ties_even() as i64;
    if read_us == time_us { near } else { nearest }
}

fn push_ascii(out: &mut String, text: &[u8]) {
    out.push_str(std::str::from_utf8(text).unwrap_or_default());
}

fn put_digits(slots: &mut [u8], value: i64) {
    let mut rest = value as u32;
    for slot in slots.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// The date of a day number (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn times_are_those_of_jiff() {
        for time_us in [
            0,
            1,
            999_999,
            1_709_164_799_999_999,
            1_709_164_800_000_001,
            1_795_300_129_118_132,
        ] {
            let text = written(|out| push_time(out, time_us));
            let parsed: jiff::Timestamp = text.parse().unwrap();
            assert_eq!(parsed.as_microsecond(), time_us, "{text}");
        }
        assert_eq!(
            written(|out| push_time(out, 5_000_000)),
            "1970-01-01T00:00:05+00:00"
        );
        assert_eq!(
            written(|out| push_time(out, 5_000_010)),
            "1970-01-01T00:00:05.000010+00:00"
        );
    }

    #[test]
    fn strings_read_back() {
        for text in [
            "",
            "plain",
            "a\"b\\c",
            "line\nnext\ttab\u{1}",
            "日本語 ♥ 🏠",
            "\"",
            "\\",
        ] {
            let json = written(|out| push_string(out, text));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn fixed_point() {
        assert_eq!(written(|out| push_fixed(out, -5, 1)), "-0.5");
        assert_eq!(written(|out| push_fixed(out, 1_203, 2)), "12.03");
        assert_eq!(written(|out| push_fixed(out, 7, 0)), "7");
    }

    #[test]
    fn ulids_have_the_time_in_front() {
        // The example of the ULID specification: 01ARYZ6S41 is 1469918176385 ms.
        let text = written(|out| push_ulid(out, 1_469_918_176_385, 0));
        assert_eq!(text, "01ARYZ6S410000000000000000");
        assert_eq!(text.len(), ULID_CHARS);
    }

    #[test]
    fn seconds_are_unrounded_and_carry_the_microsecond() {
        let times = (1_795_300_129_118_132..).step_by(999_983).take(1_000);
        let (mut rounded, mut edges) = (0, 0);
        for time_us in times {
            let text = written(|out| push_seconds(out, time_us));
            let seconds: f64 = text.parse().unwrap();
            let fraction_us = (seconds.fract() * 1e6).round_ties_even() as i64;
            assert_eq!(seconds.trunc() as i64 * 1_000_000 + fraction_us, time_us);
            let (_, decimals) = text.split_once('.').unwrap();
            rounded += u32::from(decimals.len() <= 6);
            edges += u32::from((seconds * 1e6).round() as i64 != time_us);
        }
        // Stamps that another way of rounding reads as another microsecond are among them.
        assert!(rounded < 500 && edges > 50, "{rounded} {edges}");
    }
}
