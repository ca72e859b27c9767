//! Which lines the database's message seems to speak of. Only a hint: it decides what is tried
//! first. What is rejected is a line that was refused by itself, or all lines of a part that share one
//! conflict, when the database counts every one as dropped.

use std::collections::HashMap;

use super::answer::Words;
use super::batch::Batch;
use super::conflict::{conflict, type_of};

/// Lines to try by themselves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suspects {
    /// Lines of the part, in order.
    pub(super) lines: Vec<usize>,
    /// Most of them are probably bad: one by one is cheaper than halving.
    pub(super) mostly_bad: bool,
    /// They share the conflict of types that the message names.
    pub(super) one_conflict: bool,
}

/// The suspects among the lines of a part that was not taken whole.
pub(super) fn suspects(words: &Words, part: &[usize], lines: &Batch<'_>) -> Option<Suspects> {
    let text = |line: usize| lines.line(line).trim_ascii_end();
    let dropped = dropped(&words.text);
    let by_number = || {
        let numbers = words.line_numbers.iter();
        numbers
            .filter_map(|number| part.get(number.checked_sub(1)?).copied())
            .collect()
    };
    let candidates: [&dyn Fn() -> Vec<usize>; 4] = [
        &by_number,
        &|| quoted(&words.text, part, text),
        &|| conflicting(&words.text, part, text),
        &|| oldest(&words.text, dropped, part, text),
    ];
    let mut found = candidates
        .iter()
        .map(|find| find())
        .find(|found| !found.is_empty())?;
    found.sort_unstable();
    found.dedup();
    let one_conflict = found.len() > 1 && conflicting(&words.text, &found, text) == found;
    // A message may name one conflict and count all: more dropped than suspected is no doubt.
    let mostly_bad = dropped.is_none_or(|dropped| found.len() <= 2 * dropped);
    // Everything suspected and little dropped tells nothing: halving is better.
    (mostly_bad || found.len() < part.len()).then_some(Suspects {
        lines: found,
        mostly_bad,
        one_conflict,
    })
}

/// Whether the database says of every line of the part that it dropped it, for a conflict in which
/// each of the lines takes part as far as can be seen here. Its count alone is not enough.
pub(super) fn all_dropped(words: &Words, part: &[usize], lines: &Batch<'_>) -> bool {
    let text = |line: usize| lines.line(line).trim_ascii_end();
    dropped(&words.text) == Some(part.len())
        && conflicting(&words.text, part, text).len() == part.len()
}

/// `dropped=3` (1.x, 2.x) or `dropped 3 points` (2.x, retention); 0 says nothing, since lines that
/// could not be parsed are not counted.
fn dropped(message: &str) -> Option<usize> {
    let (_, after) = message.rsplit_once("dropped")?;
    let digits = after.trim_start_matches(['=', ' ']);
    let end = digits
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok().filter(|count| *count > 0)
}

/// `unable to parse 'LINE': reason`, for each bad line (1.x and 2.x).
fn quoted<'a>(message: &str, part: &[usize], text: impl Fn(usize) -> &'a [u8]) -> Vec<usize> {
    const MARK: &str = "unable to parse '";
    if !message.contains(MARK) {
        return Vec::new();
    }
    let by_text: HashMap<&[u8], usize> = part.iter().map(|line| (text(*line), *line)).collect();
    let quotes = message
        .split(MARK)
        .skip(1)
        .filter_map(|rest| rest.rsplit_once("': "));
    quotes
        .filter_map(|(quote, _)| by_text.get(quote.as_bytes()).copied())
        .collect()
}

/// The lines that hold the field with the type that conflicts.
fn conflicting<'a>(message: &str, part: &[usize], text: impl Fn(usize) -> &'a [u8]) -> Vec<usize> {
    let Some(conflict) = conflict(message) else {
        return Vec::new();
    };
    let measurement = conflict
        .measurement
        .map(|measurement| escaped(measurement, &[',', ' ']).into_bytes());
    let name = escaped(conflict.field, &[',', '=', ' ']);
    let needles = [',', ' '].map(|before| format!("{before}{name}=").into_bytes());
    let holds = |line: &[u8]| {
        let of_measurement = measurement.as_ref().is_none_or(|measurement| {
            line.strip_prefix(measurement.as_slice())
                .is_some_and(|rest| matches!(rest.first(), Some(b',' | b' ')))
        });
        of_measurement
            && needles.iter().any(|needle| {
                let ends = memchr::memmem::find_iter(line, needle).map(|at| at + needle.len());
                ends.into_iter()
                    .any(|end| conflict.kind == type_of(&line[end..]))
            })
    };
    part.iter()
        .copied()
        .filter(|line| holds(text(*line)))
        .collect()
}

fn escaped(name: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(name.len());
    for char in name.chars() {
        if special.contains(&char) {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

/// Beyond retention: as many of the oldest lines as were dropped.
fn oldest<'a>(
    message: &str,
    dropped: Option<usize>,
    part: &[usize],
    text: impl Fn(usize) -> &'a [u8],
) -> Vec<usize> {
    let Some(dropped) = dropped.filter(|_| message.contains("retention")) else {
        return Vec::new();
    };
    let time = |line: usize| -> Option<i64> {
        let (_, last) = std::str::from_utf8(text(line)).ok()?.rsplit_once(' ')?;
        last.parse().ok()
    };
    let mut by_age: Vec<_> = part.iter().map(|line| (time(*line), *line)).collect();
    by_age.sort_unstable();
    by_age
        .into_iter()
        .take(dropped)
        .map(|(_, line)| line)
        .collect()
}
