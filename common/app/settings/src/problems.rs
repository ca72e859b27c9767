//! Collecting everything that is wrong with the settings.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// What is wrong with the settings; empty if nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// A setting with an unusable value.
    pub fn bad(&mut self, name: &str, value: &str, valid: impl Display) {
        self.0
            .push(format!("{name}: {value:?} is not valid; {valid}"));
    }

    /// A secret setting with an unusable value, which is not repeated.
    pub fn bad_secret(&mut self, name: &str, valid: impl Display) {
        self.0
            .push(format!("{name}: its value is not valid; {valid}"));
    }

    /// A setting that is needed and not there.
    pub fn missing(&mut self, name: &str, what: impl Display) {
        self.0.push(format!("{name} is not set; {what}"));
    }

    /// Anything else.
    pub fn other(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }

    /// Nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, s) = (self.0.len(), if self.0.len() == 1 { "" } else { "s" });
        write!(f, "{count} setting{s} must change:")?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// Reads a number within its range. After a problem the lower end stands in, so that the rest can
/// be checked too.
pub fn number<N>(problems: &mut Problems, name: &str, value: &str, range: RangeInclusive<N>) -> N
where
    N: FromStr + PartialOrd + Display + Copy,
{
    match value.trim().replace('_', "").parse::<N>() {
        Ok(number) if range.contains(&number) => number,
        _ => {
            let (low, high) = (range.start(), range.end());
            problems.bad(
                name,
                value,
                format_args!("a whole number from {low} to {high}"),
            );
            *low
        }
    }
}

/// Reads `true` or `false`; after a problem `false` stands in.
pub fn boolean(problems: &mut Problems, name: &str, value: &str) -> bool {
    match value.trim() {
        "true" => true,
        "false" => false,
        _ => {
            problems.bad(name, value, "true or false");
            false
        }
    }
}

/// Reads a length of time: `45s`, `10m`, `12h`, `30d`, or plain seconds. For how long something is
/// kept before it is deleted there is [`retention`].
pub fn seconds(problems: &mut Problems, name: &str, value: &str) -> Duration {
    let unit_seconds = |unit| match unit {
        None | Some('s') => Some(1),
        Some('m') => Some(60),
        Some('h') => Some(3_600),
        Some('d') => Some(86_400),
        Some(_) => None,
    };
    length(value, unit_seconds).unwrap_or_else(|| {
        problems.bad(name, value, "a time such as 45s, 10m, 12h or 30d");
        Duration::from_secs(1)
    })
}

/// Reads how long something is kept before it is deleted, such as `12h`, `30d`, `52w` or `1y` (365
/// days); `None`, for `0` or `off`, is for ever. What is misread here is deleted, so a number
/// without a unit is refused, and so is `m`, which people write for minutes and for months. After a
/// problem `None` stands in.
pub(crate) fn retention(problems: &mut Problems, name: &str, value: &str) -> Option<Duration> {
    if matches!(value.trim(), "0" | "off") {
        return None;
    }
    let unit_seconds = |unit| match unit {
        Some('s') => Some(1),
        Some('h') => Some(3_600),
        Some('d') => Some(86_400),
        Some('w') => Some(7 * 86_400),
        Some('y') => Some(365 * 86_400),
        _ => None,
    };
    let kept = length(value, unit_seconds);
    if kept.is_none() {
        problems.bad(
            name,
            value,
            "a number with its unit, h, d, w or y, such as 12h, 30d, 52w or 1y (m is refused: it \
             can mean minutes or months); 0 keeps everything for ever",
        );
    }
    kept
}

/// Digits and at most one dead letter behind them; `None` for anything else, for zero, and for what is
/// too long to count.
fn length(value: &str, unit_seconds: impl Fn(Option<char>) -> Option<u64>) -> Option<Duration> {
    let text = value.trim();
    let unit = text.chars().last().filter(char::is_ascii_alphabetic);
    let digits = unit.map_or(text, |_| &text[..text.len() - 1]);
    let (count, factor) = (digits.parse::<u64>().ok()?, unit_seconds(unit)?);
    (count > 0 && count < u64::MAX / 1_000_000 / factor)
        .then(|| Duration::from_secs(count * factor))
}

/// The parts of a comma list, without blanks and empty parts.
pub(crate) fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_read_or_named() {
        let mut problems = Problems::default();
        assert_eq!(number(&mut problems, "A", "5_000", 1..=9_999), 5_000);
        assert_eq!(
            seconds(&mut problems, "T", "30d"),
            Duration::from_secs(30 * 86_400)
        );
        assert_eq!(seconds(&mut problems, "T", "25"), Duration::from_secs(25));
        assert!(problems.is_empty());
        number(&mut problems, "A", "many", 1..=10);
        number(&mut problems, "B", "11", 1..=10);
        for bad in ["", "s", "0s", "5y", "-1s", "99999999999999999999d", "1é"] {
            seconds(&mut problems, "T", bad);
        }
        let text = problems.to_string();
        assert!(text.starts_with("9 settings must change:"), "{text}");
        assert!(
            text.contains(r#"A: "many" is not valid; a whole number from 1 to 10"#),
            "{text}"
        );
    }
    #[test]
    fn how_long_points_are_kept_needs_a_unit() {
        const DAY_S: u64 = 86_400;
        let mut problems = Problems::default();
        for (text, days) in [("30d", 30), (" 48h ", 2), ("52w", 364), ("1y", 365)] {
            assert_eq!(
                retention(&mut problems, "KEEP", text),
                Some(Duration::from_secs(days * DAY_S)),
                "{text}"
            );
        }
        assert_eq!(
            retention(&mut problems, "KEEP", "90s"),
            Some(Duration::from_secs(90))
        );
        for text in ["0", " 0 ", "off"] {
            assert_eq!(retention(&mut problems, "KEEP", text), None);
        }
        assert!(problems.is_empty(), "{problems}");

        let bad = [
            "30",
            "1",
            "00",
            "+30",
            "",
            "d",
            "0d",
            "-1d",
            "6m",
            "30D",
            "1M",
            "30 d",
            "30days",
            "1.5d",
            "99999999999999999999d",
            "1é",
        ];
        for text in bad {
            let mut problems = Problems::default();
            assert_eq!(retention(&mut problems, "KEEP", text), None);
            let said = problems.to_string();
            for part in [&format!("KEEP: {text:?} is not valid"), "30d", "0 keeps"] {
                assert!(said.contains(part), "{text}: {said}");
            }
        }
    }
}
