//! What an answer to a write means.
//!
//! <https://docs.influxdata.com/influxdb/v2/api/#operation/PostWrite>,
//! <https://docs.influxdata.com/influxdb/v1/tools/api/#status-codes-and-responses-2>

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use serde::Deserialize;

use super::{Api, InfluxDbOptions};
use crate::WriteOutcome;

/// The longest wait that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// How much of the database's words travels with a rejected point.
const WORDS_BYTES_MAX: usize = 1024;

/// An answer by what there is to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All lines are stored.
    Stored,
    /// Some lines were not taken; which ones is not certain.
    Lines(Words),
    /// The body is too large.
    TooLarge(Words),
    /// Later.
    Unavailable {
        reason: String,
        retry_after: Option<Duration>,
    },
    /// A setting is wrong.
    Refused { reason: String, remedy: String },
}

/// What the database said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// Its message.
    pub(crate) text: String,
    /// Numbers of bad lines, from 1, where the answer holds any (InfluxDB 3 and Cloud).
    pub(super) line_numbers: Vec<usize>,
}

impl Words {
    /// The message is plainly about what was in the body.
    pub(super) fn is_about_lines(&self) -> bool {
        let known = [
            "partial write",
            "unable to parse",
            "field type conflict",
            "retention",
            "line protocol",
        ];
        !self.line_numbers.is_empty() || known.iter().any(|words| self.text.contains(words))
    }

    /// The message only misses points: the request was taken as such.
    pub(super) fn is_about_missing_points(&self) -> bool {
        let known = ["requires points", "no points", "no lines", "empty"];
        known.iter().any(|words| self.text.contains(words))
    }

    /// The message cut to its beginning and end: InfluxDB quotes the line and then says the reason.
    pub(crate) fn short(&self) -> String {
        let text = self.text.as_str();
        if text.len() <= WORDS_BYTES_MAX {
            return text.to_owned();
        }
        let is_boundary = |at: &usize| text.is_char_boundary(*at);
        let head = (0..=WORDS_BYTES_MAX / 2).rfind(is_boundary).unwrap_or(0);
        let tail = (text.len() - WORDS_BYTES_MAX / 2..text.len()).find(is_boundary);
        let tail = tail.unwrap_or(text.len());
        format!("{} … {}", &text[..head], &text[tail..])
    }

    /// The message for a rejected point, with one word for what every version says differently.
    pub(super) fn for_point(&self) -> String {
        let text = self.short();
        if self.text.contains("retention") && !self.text.contains("beyond retention") {
            return format!("beyond retention: {text}");
        }
        text
    }
}

/// What an answer to a write means. `now` is for a `Retry-After` that is a date.
pub(super) fn judge(
    options: &InfluxDbOptions,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Answer {
    let words = words_of(headers, body);
    match status.as_u16() {
        204 => Answer::Stored,
        200..=299 if body.trim_ascii().is_empty() => Answer::Stored,
        200..=299 => judge_success_with_body(options, body, words),
        400 | 422 => Answer::Lines(words),
        413 => Answer::TooLarge(words),
        408 | 429 | 500..=599 => Answer::Unavailable {
            reason: options.redacted(&format!("{status}: {}", words.short())),
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|value| retry_after(value.to_str().ok()?, now)),
        },
        _ => {
            let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let said = location.map_or_else(|| words.short(), |to| format!("redirected to {to}"));
            Answer::Refused {
                reason: options.redacted(&format!("{status}: {said}")),
                remedy: remedy(options, status, &words),
            }
        }
    }
}

/// A success that says something: InfluxDB 1.x may report an error under 200, InfluxDB 3 the lines
/// that it dropped; and any web server may answer 200 to anything, which must not pass for stored.
fn judge_success_with_body(options: &InfluxDbOptions, body: &[u8], words: Words) -> Answer {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) if error.words().is_none() => Answer::Stored,
        Ok(_) => Answer::Lines(words),
        Err(_) => Answer::Refused {
            reason: options.redacted(&format!("the answer is not InfluxDB's: {}", words.short())),
            remedy: "INFLUXDB_URL must be the address of an InfluxDB".to_owned(),
        },
    }
}

/// Which setting to look at.
fn remedy(options: &InfluxDbOptions, status: StatusCode, words: &Words) -> String {
    let v1 = options.api == Api::V1;
    let credentials = if options.username.is_some() {
        "INFLUXDB_USERNAME and INFLUXDB_PASSWORD"
    } else if v1 && options.token.is_none() {
        "INFLUXDB_USERNAME and INFLUXDB_PASSWORD (none is set)"
    } else if options.token.is_none() {
        "INFLUXDB_TOKEN (none is set)"
    } else {
        "INFLUXDB_TOKEN"
    };
    let bucket = &options.bucket;
    let missing_bucket = words.text.contains("bucket") || words.text.contains("database");
    match status.as_u16() {
        401 => format!("check {credentials}"),
        403 => format!("grant write access to {bucket:?}, or use other {credentials}"),
        404 if words.text.contains("organization") => {
            "set INFLUXDB_ORG to an organisation that is there".to_owned()
        }
        404 if missing_bucket && v1 => {
            format!("set INFLUXDB_BUCKET to a database that is there, or create {bucket:?}")
        }
        404 if missing_bucket => {
            format!("set INFLUXDB_BUCKET to a bucket that is there, or create {bucket:?}")
        }
        404 if v1 => "nothing answers to /write below INFLUXDB_URL; check the address, or set \
                      INFLUXDB_API=v2"
            .to_owned(),
        404 => "nothing answers to /api/v2/write below INFLUXDB_URL; check the address, or set \
                INFLUXDB_API=v1 for InfluxDB 1.7 and older"
            .to_owned(),
        300..=399 => "set INFLUXDB_URL to the final address (is it https?)".to_owned(),
        _ => "check INFLUXDB_URL and INFLUXDB_API".to_owned(),
    }
}

/// Seconds or an HTTP date, at most [`RETRY_AFTER_MAX`]; a date that is past asks for nothing.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The error shapes of InfluxDB 1 (`error`), 2 (`message`) and 3 (`data`).
#[derive(Deserialize)]
struct ErrorBody {
    error: Option<String>,
    message: Option<String>,
    line: Option<usize>,
    #[serde(default)]
    results: Vec<StatementResult>,
    data: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct StatementResult {
    error: Option<String>,
}

impl ErrorBody {
    fn words(&self) -> Option<String> {
        let statement = || {
            self.results
                .iter()
                .find_map(|result| result.error.as_deref())
        };
        let text = self
            .error
            .as_deref()
            .or(self.message.as_deref())
            .or_else(statement)?;
        let mut text = text.to_owned();
        for detail in self.details() {
            if let Some(more) = detail.get("error_message").and_then(|more| more.as_str()) {
                text.push_str("; ");
                text.push_str(more);
            }
        }
        Some(text)
    }

    /// What InfluxDB 3 says of lines: of each, or only of the first.
    fn details(&self) -> &[serde_json::Value] {
        match &self.data {
            Some(serde_json::Value::Array(details)) => details,
            Some(detail) => std::slice::from_ref(detail),
            None => &[],
        }
    }

    fn line_numbers(&self) -> Vec<usize> {
        let numbers = self.details().iter();
        let numbers = numbers.filter_map(|detail| detail.get("line_number")?.as_u64());
        let numbers = numbers.filter_map(|number| usize::try_from(number).ok());
        self.line
            .into_iter()
            .chain(numbers)
            .filter(|number| *number > 0)
            .collect()
    }
}

/// What the server said, from the body or InfluxDB's header.
pub(crate) fn words_of(headers: &HeaderMap, body: &[u8]) -> Words {
    if let Ok(error) = serde_json::from_slice::<ErrorBody>(body)
        && let Some(text) = error.words()
    {
        return Words {
            text,
            line_numbers: error.line_numbers(),
        };
    }
    let header = headers
        .get("x-influxdb-error")
        .and_then(|value| value.to_str().ok());
    let text = match header {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    };
    let text = if text.is_empty() {
        "no explanation".to_owned()
    } else {
        text
    };
    Words {
        text,
        line_numbers: Vec::new(),
    }
}

impl Answer {
    /// The outcome that ends the whole batch, if this answer is one.
    pub(super) fn ending(self) -> Result<WriteOutcome, Self> {
        match self {
            Self::Unavailable {
                reason,
                retry_after,
            } => Ok(WriteOutcome::Unavailable {
                reason,
                retry_after,
            }),
            Self::Refused { reason, remedy } => Ok(WriteOutcome::Refused {
                reason: format!("{reason}; {remedy}"),
            }),
            other => Err(other),
        }
    }
}

#[cfg(test)]
mod tests;
