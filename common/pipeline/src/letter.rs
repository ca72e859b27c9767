//! Dead letters: what could not be stored, and why.

use bytes::Bytes;
use ha_frame::{Envelope, Frame};
use std::time::{SystemTime, UNIX_EPOCH};

/// Why an event is a dead letter; the value of the header `x-ha-reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The message is not a frame.
    Undecodable,
    /// The bytes in an envelope are not an event.
    InvalidEvent,
    /// The database refused the point.
    SinkRejected,
    /// Processing the event ended the processing.
    Poison,
    /// The event is larger than `EVENT_BYTES_MAX`.
    Oversized,
    /// The broker refused the frame while it took others.
    Refused,
}

impl Reason {
    /// All reasons, for counters that begin at 0.
    pub const ALL: [Self; 6] = [
        Self::Undecodable,
        Self::InvalidEvent,
        Self::SinkRejected,
        Self::Poison,
        Self::Oversized,
        Self::Refused,
    ];

    /// The word in headers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::InvalidEvent => "invalid_event",
            Self::SinkRejected => "sink_rejected",
            Self::Poison => "poison",
            Self::Oversized => "oversized",
            Self::Refused => "refused",
        }
    }
}

/// One dead letter.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Why.
    pub reason: Reason,
    /// Where it failed: `decode`, `enrich`, `sink`, `receive`.
    pub stage: &'static str,
    /// In the words of whatever refused it, at most [`ERROR_BYTES_MAX`] bytes.
    pub error: String,
    /// The entity's domain, where there is one.
    pub domain: String,
    /// A frame of one envelope; foreign bytes as they came.
    pub payload: Bytes,
    /// When it first failed, nanoseconds since the epoch.
    pub first_failed_at_ns: i64,
}

/// Longer errors are cut: they stand in a header.
const ERROR_BYTES_MAX: usize = 1_024;

impl Letter {
    /// A letter for bytes that are not a frame.
    #[must_use]
    pub fn undecodable(payload: Bytes, error: &dyn std::fmt::Display) -> Self {
        Self::new(Reason::Undecodable, "decode", error, String::new(), payload)
    }

    /// A letter for one event; its facts are left behind, replaying finds newer ones.
    #[must_use]
    pub fn of_event(
        reason: Reason,
        stage: &'static str,
        error: &dyn std::fmt::Display,
        envelope: &Envelope<'_>,
    ) -> Self {
        let domain = ha_event::peek(&envelope.json)
            .ok()
            .and_then(|peek| peek.entity_id)
            .and_then(|id| id.split_once('.').map(|(domain, _)| domain.to_owned()))
            .unwrap_or_default();
        let mut payload = Vec::with_capacity(envelope.json.len() + 200);
        // Encoding into memory fails for nothing that an envelope holds (texts under 4 GiB).
        if ha_frame::encode(&Frame::new(vec![envelope.clone()]), &mut payload).is_err() {
            payload.clear();
            payload.extend_from_slice(&envelope.json);
        }
        Self::new(reason, stage, error, domain, payload.into())
    }

    fn new(
        reason: Reason,
        stage: &'static str,
        error: &dyn std::fmt::Display,
        domain: String,
        payload: Bytes,
    ) -> Self {
        let mut error = error.to_string();
        if error.len() > ERROR_BYTES_MAX {
            let cut = (0..=ERROR_BYTES_MAX).rev().find(|at| error.is_char_boundary(*at));
            error.truncate(cut.unwrap_or(0));
        }
        Self { reason, stage, error, domain, payload, first_failed_at_ns: now_ns() }
    }

    /// Reason, stage, shape of the error and domain: letters that failed for one cause share it.
    /// Digits and quoted parts of the error vary from event to event and do not count.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut shape = String::with_capacity(self.error.len());
        let mut quote = None;
        for letter in self.error.chars() {
            match quote {
                Some(open) if letter == open => quote = None,
                Some(_) => {}
                None if matches!(letter, '"' | '\'' | '`') => {
                    quote = Some(letter);
                    shape.push('…');
                }
                None if letter.is_ascii_digit() => {
                    if !shape.ends_with('#') {
                        shape.push('#');
                    }
                }
                None => shape.push(letter),
            }
        }
        let hash = format!("{}|{}|{shape}|{}", self.reason.as_str(), self.stage, self.domain)
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        format!("{hash:016x}")
    }

    /// The headers that every letter carries, as texts.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, String)> {
        [
            ("x-ha-reason", self.reason.as_str().to_owned()),
            ("x-ha-stage", self.stage.to_owned()),
            ("x-ha-error", self.error.clone()),
            ("x-ha-fingerprint", self.fingerprint()),
            ("x-ha-first-failed-at", self.first_failed_at_ns.to_string()),
            ("x-ha-attempts", "1".to_owned()),
            ("x-ha-replays", "0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// Where letters go: the broker's dead-letter exchange, or the spool database.
pub trait DeadLetters: Send + Sync + 'static {
    /// Stores the letters. Returns only when they are safe; waits and tries again until then.
    fn deliver(&self, letters: Vec<Letter>) -> impl Future<Output = ()> + Send;
}

/// Nanoseconds since the epoch, now.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(error: &str) -> Letter {
        Letter::new(Reason::SinkRejected, "sink", &error, "sensor".into(), Bytes::new())
    }

    #[test]
    fn letters_of_one_cause_share_a_fingerprint() {
        let one = letter("field \"value\" on line 12 is 3.5").fingerprint();
        assert_eq!(one, letter("field \"state\" on line 7 is 99.1").fingerprint());
        assert_ne!(one, letter("point beyond retention").fingerprint());
    }

    #[test]
    fn long_errors_are_cut_between_characters() {
        let cut = letter(&"é".repeat(2_000)).error;
        assert!(cut.len() <= ERROR_BYTES_MAX && cut.len() > ERROR_BYTES_MAX - 4);
    }
}
