//! Dead letters: what could not be stored, and why.

use bytes::Bytes;
use ha_batch::{Batch, Envelope, Replay};
use std::time::{SystemTime, UNIX_EPOCH};

/// Why an event is a dead letter; the value of the header `x-ha-reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The message is not a batch.
    Undecodable,
    /// The bytes in an envelope are not an event.
    InvalidEvent,
    /// The database refused the point.
    SinkRejected,
    /// Processing the event ended the processing.
    Poison,
    /// The event is larger than `EVENT_BYTES_MAX`.
    Oversized,
    /// The broker refused the batch while it took others.
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
pub struct DeadLetter {
    /// Why.
    pub reason: Reason,
    /// Where it failed: `decode`, `enrich`, `sink`, `receive`.
    pub stage: &'static str,
    /// In the words of whatever refused it, at most [`ERROR_BYTES_MAX`] bytes.
    pub error: String,
    /// The entity's domain, where there is one.
    pub domain: String,
    /// A batch of one envelope; foreign bytes as they came.
    pub payload: Bytes,
    /// When it failed, nanoseconds since the epoch.
    pub failed_at_ns: i64,
    /// When it first failed: earlier than that for one that was replayed.
    pub first_failed_at_ns: i64,
    /// How often it was replayed.
    pub replays: u32,
}

/// Header: why, see [`Reason`].
pub const HEADER_REASON: &str = "x-ha-reason";
/// Header: where it failed.
pub const HEADER_STAGE: &str = "x-ha-stage";
/// Header: the words of whatever refused it.
pub const HEADER_ERROR: &str = "x-ha-error";
/// Header: see [`DeadLetter::fingerprint`].
pub const HEADER_FINGERPRINT: &str = "x-ha-fingerprint";
/// Header: when it first failed, nanoseconds since the epoch. Carried by replays.
pub const HEADER_FIRST_FAILED_AT: &str = "x-ha-first-failed-at";
/// Header: when it failed last, nanoseconds since the epoch.
pub const HEADER_FAILED_AT: &str = "x-ha-failed-at";
/// Header: how often it was tried.
pub const HEADER_ATTEMPTS: &str = "x-ha-attempts";
/// Header: how often it was replayed. Carried by replays.
pub const HEADER_REPLAYS: &str = "x-ha-replays";

/// Longer errors are cut: they stand in a header.
const ERROR_BYTES_MAX: usize = 1_024;

impl DeadLetter {
    /// A dead letter for bytes that are not a batch.
    #[must_use]
    pub fn undecodable(payload: Bytes, error: &dyn std::fmt::Display) -> Self {
        Self::new(Reason::Undecodable, "decode", error, String::new(), payload)
    }

    /// A dead letter for one event; its facts are left behind, replaying finds newer ones.
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
        if ha_batch::encode(&Batch::new(vec![envelope.clone()]), &mut payload).is_err() {
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
            let cut = (0..=ERROR_BYTES_MAX)
                .rev()
                .find(|at| error.is_char_boundary(*at));
            error.truncate(cut.unwrap_or(0));
        }
        let now_ns = now_ns();
        Self {
            reason,
            stage,
            error,
            domain,
            payload,
            failed_at_ns: now_ns,
            first_failed_at_ns: now_ns,
            replays: 0,
        }
    }

    /// Takes over the history of a batch that was a dead letter before.
    #[must_use]
    pub fn replayed(mut self, replay: Option<Replay>) -> Self {
        if let Some(Replay {
            count,
            first_failed_at_ns,
        }) = replay
        {
            self.replays = count;
            self.first_failed_at_ns = first_failed_at_ns;
        }
        self
    }

    /// Reason, stage, shape of the error and domain: dead letters that failed for one cause share it.
    /// Digits and quoted parts of the error vary from event to event and do not count.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(self.reason.as_str(), self.stage, &self.error, &self.domain)
    }

    /// The headers that every dead letter carries, as texts.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, String)> {
        [
            (HEADER_REASON, self.reason.as_str().to_owned()),
            (HEADER_STAGE, self.stage.to_owned()),
            (HEADER_ERROR, self.error.clone()),
            (HEADER_FINGERPRINT, self.fingerprint()),
            (HEADER_FIRST_FAILED_AT, self.first_failed_at_ns.to_string()),
            (HEADER_FAILED_AT, self.failed_at_ns.to_string()),
            (HEADER_ATTEMPTS, self.replays.saturating_add(1).to_string()),
            (HEADER_REPLAYS, self.replays.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// The fingerprint of a dead letter by its parts, for dead letters that the broker wrote.
#[must_use]
pub fn fingerprint(reason: &str, stage: &str, error: &str, domain: &str) -> String {
    let mut shape = String::with_capacity(error.len());
    let mut quote = None;
    for character in error.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '\'' | '`') => {
                quote = Some(character);
                shape.push('…');
            }
            None if character.is_ascii_digit() => {
                if !shape.ends_with('#') {
                    shape.push('#');
                }
            }
            None => shape.push(character),
        }
    }
    let whole = format!("{reason}|{stage}|{shape}|{domain}");
    format!("{:016x}", ha_event::fingerprint(whole.as_bytes()))
}

/// Where dead letters go: the broker's dead-letter exchange, or the spool database.
pub trait DeadLetterStore: Send + Sync + 'static {
    /// Stores the dead letters. Returns only when they are safe; waits and tries again until then.
    fn deliver(&self, dead_letters: Vec<DeadLetter>) -> impl Future<Output = ()> + Send;
}

/// Nanoseconds since the epoch, now.
#[must_use]
pub fn now_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_letter(error: &str) -> DeadLetter {
        DeadLetter::new(
            Reason::SinkRejected,
            "sink",
            &error,
            "sensor".into(),
            Bytes::new(),
        )
    }

    #[test]
    fn dead_letters_of_one_cause_share_a_fingerprint() {
        let one = dead_letter("field \"value\" on line 12 is 3.5").fingerprint();
        assert_eq!(
            one,
            dead_letter("field \"state\" on line 7 is 99.1").fingerprint()
        );
        assert_ne!(one, dead_letter("point beyond retention").fingerprint());
    }

    #[test]
    fn long_errors_are_cut_between_characters() {
        let cut = dead_letter(&"é".repeat(2_000)).error;
        assert!(cut.len() <= ERROR_BYTES_MAX && cut.len() > ERROR_BYTES_MAX - 4);
    }
}
