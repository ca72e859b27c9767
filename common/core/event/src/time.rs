//! Instants with the precision that Home Assistant's state times carry: microseconds.

use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcMicros(pub i64);

/// A text that is not an RFC 3339 time stamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an RFC 3339 time stamp")]
pub struct ParseTimeError {
    text: String,
}

impl UtcMicros {
    /// Parses RFC 3339 with any offset; digits past the microsecond are cut off.
    ///
    /// # Errors
    /// Anything else than an RFC 3339 time stamp, an offset included.
    pub fn parse(text: &str) -> Result<Self, ParseTimeError> {
        if let Some(micros) = parse_plain_utc(text.as_bytes()) {
            return Ok(Self(micros));
        }
        text.parse::<jiff::Timestamp>()
            .map(|timestamp| Self(timestamp.as_nanosecond().div_euclid(1_000) as i64))
            .map_err(|_| ParseTimeError {
                text: text.chars().take(64).collect(),
            })
    }

    /// Converts seconds since the epoch as Home Assistant's compressed history rows carry them
    /// (`lu`, `lc`), rounded as Python's `datetime.fromtimestamp` rounds them: the fraction is
    /// taken first, then rounded to microseconds, half to even. Rounding `seconds * 1e6` as a whole
    /// differs in one stamp of eight, and a stamp that is off by a microsecond is another point.
    ///
    /// Returns `None` for what is not finite or lies outside the range of microseconds in an `i64`.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        const MICROS: f64 = 1e6;
        const SECONDS_MAX: f64 = (i64::MAX / 1_000_000) as f64;
        // Also false for NaN.
        if !(-SECONDS_MAX..SECONDS_MAX).contains(&seconds) {
            return None;
        }
        let micros = (seconds.fract() * MICROS).round_ties_even();
        Some(Self(seconds.trunc() as i64 * 1_000_000 + micros as i64))
    }

    /// Nanoseconds since the epoch, the precision that the database is written with.
    #[must_use]
    pub fn as_nanos(self) -> i64 {
        self.0.saturating_mul(1_000)
    }

    /// Seconds from `earlier` to this instant, with microsecond precision; negative if it is later.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / 1e6
    }
}

/// Reads the times of one event: mostly they lie within one minute, whose date is worked out once.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// The text up to the seconds, and the microseconds since the epoch that it stands for.
    minute: Option<([u8; SECONDS_AT], i64)>,
}

/// Where the seconds stand in `2026-11-21T21:42:14.010254+00:00`.
const SECONDS_AT: usize = 17;

impl Times {
    /// As [`UtcMicros::parse`].
    ///
    /// # Errors
    /// As there.
    pub fn parse(&mut self, text: &str) -> Result<UtcMicros, ParseTimeError> {
        let split = text.as_bytes().split_first_chunk::<SECONDS_AT>();
        let Some((minute, Some(micros))) = split.map(|(minute, rest)| (minute, micros_of(rest)))
        else {
            return UtcMicros::parse(text);
        };
        match &self.minute {
            Some((known, began)) if known == minute => Ok(UtcMicros(began + micros)),
            _ => {
                let time = UtcMicros::parse(text)?;
                self.minute = Some((*minute, time.0 - micros));
                Ok(time)
            }
        }
    }
}

/// Microseconds of `14.010254+00:00`.
fn micros_of(rest: &[u8]) -> Option<i64> {
    let rest: &[u8; 15] = rest.try_into().ok()?;
    if rest[2] != b'.' || rest[9..] != *b"+00:00" {
        return None;
    }
    let digits = [
        rest[0], rest[1], rest[3], rest[4], rest[5], rest[6], rest[7], rest[8],
    ];
    let is_number = digits.iter().all(u8::is_ascii_digit) && rest[0] <= b'5';
    let number = |value: i64, digit: &u8| value * 10 + i64::from(digit - b'0');
    is_number.then(|| digits.iter().fold(0, number))
}

/// The one form that Home Assistant itself writes, `2026-11-21T21:42:14.010254+00:00`, without the
/// general parser: it is read three times an event.
fn parse_plain_utc(text: &[u8]) -> Option<i64> {
    let (stamp, rest) = text.split_at_checked(19)?;
    let fraction = rest.strip_suffix(b"+00:00")?;
    let shape = (stamp[4], stamp[7], stamp[10], stamp[13], stamp[16]);
    if shape != (b'-', b'-', b'T', b':', b':') {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        stamp[range].iter().try_fold(0_i64, |value, digit| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + i64::from(digit - b'0'))
        })
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => return None,
    };
    if day < 1 || day > days_in_month || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = match fraction {
        [] => 0,
        [b'.', digits @ ..] if digits.len() == 6 => digits.iter().try_fold(0_i64, |value, d| {
            d.is_ascii_digit().then(|| value * 10 + i64::from(d - b'0'))
        })?,
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

/// Days since 1970-01-01 of a proleptic Gregorian date (Howard Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl fmt::Display for UtcMicros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.6}"),
            Err(_) => write!(f, "{} µs since 1970", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_and_fractions_are_exact_to_the_microsecond() {
        for (text, micros) in [
            ("1970-01-01T00:00:00+00:00", 0),
            ("1970-01-01T00:00:00.000001+00:00", 1),
            ("2026-11-21T21:42:14.010254+00:00", 1_795_297_334_010_254),
            ("2026-11-21T23:42:14.010254+02:00", 1_795_297_334_010_254),
            ("2026-11-21T13:42:14.010254-08:00", 1_795_297_334_010_254),
            ("2026-11-22T03:12:14.010254+05:30", 1_795_297_334_010_254),
            ("2026-11-21T21:42:14.010254Z", 1_795_297_334_010_254),
            ("2026-11-21T21:42:14.010254999Z", 1_795_297_334_010_254),
            ("2024-02-29T12:00:00+00:00", 1_709_208_000_000_000),
            ("1969-12-31T23:59:59.999999+00:00", -1),
        ] {
            assert_eq!(UtcMicros::parse(text), Ok(UtcMicros(micros)), "{text}");
        }
    }

    #[test]
    fn seconds_are_rounded_as_python_rounds_them() {
        for (seconds, micros) in [
            (0.0, 0),
            (-0.000_001, -1),
            (-1.5, -1_500_000),
            // Half to even.
            (0.000_000_5, 0),
            (0.000_001_5, 2),
            // The fraction rounds up to a whole second.
            (1.999_999_9, 2_000_000),
            (1_795_300_129.118_132, 1_795_300_129_118_132),
            // `(seconds * 1e6).round()` says one more.
            (1_795_300_129.787_555_5, 1_795_300_129_787_555),
        ] {
            let read = UtcMicros::from_seconds(seconds);
            assert_eq!(read, Some(UtcMicros(micros)), "{seconds:?}");
        }
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -9.3e12] {
            assert_eq!(UtcMicros::from_seconds(seconds), None, "{seconds:?}");
        }
    }

    #[test]
    fn other_texts_are_errors() {
        for text in [
            "",
            "yesterday",
            "2026-11-21",
            "2026-13-21T21:42:14+00:00",
            "2026-11-21T21:42:14",
        ] {
            assert!(UtcMicros::parse(text).is_err(), "{text}");
        }
        assert!(UtcMicros::parse("2023-02-29T12:00:00+00:00").is_err());
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_the_general_parser(micros in -60_000_000_000_000_000_i64..250_000_000_000_000_000) {
            let timestamp = jiff::Timestamp::from_microsecond(micros).unwrap();
            let text = format!("{timestamp:.6}").replace('Z', "+00:00");
            prop_assert_eq!(parse_plain_utc(text.as_bytes()), Some(micros));
            prop_assert_eq!(UtcMicros::parse(&text), Ok(UtcMicros(micros)));
        }

        #[test]
        fn times_of_one_minute_are_read_as_each_by_itself(
            texts in proptest::collection::vec(
                "2026-0[12]-0[12][Tt ]0[12]:(00|01|6x):([0-6][0-9]|1_)(\\.[0-9]{6}|)(\\+00:00|\\+01:00|Z)",
                0..8,
            ),
        ) {
            let mut times = Times::default();
            for text in &texts {
                prop_assert_eq!(times.parse(text), UtcMicros::parse(text));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = UtcMicros::parse(&text);
            let _ = Times::default().parse(&text);
        }
    }
}
