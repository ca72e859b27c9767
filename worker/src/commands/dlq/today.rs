//! What today's code makes of a dead letter: the same function that the worker calls.

use super::dead_letter::DeadLetter;
use ha_enrich::Options;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The verdict on one dead letter.
#[derive(Debug)]
pub(super) enum Today {
    /// Every event becomes a point; their line protocol.
    Points(Vec<String>),
    /// It would be a dead letter again, for this reason.
    Fails { reason: &'static str, error: String },
    /// A newer worker must judge.
    NewerVersion(u16),
}

impl fmt::Display for Today {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Points(points) if points.len() == 1 => f.write_str("becomes a point"),
            Self::Points(points) => write!(f, "becomes {} points", points.len()),
            Self::Fails { reason, error } => write!(f, "fails again: {reason}: {error}"),
            Self::NewerVersion(version) => {
                write!(
                    f,
                    "was written by a newer version (batch {version}): replay it with that"
                )
            }
        }
    }
}

/// Tries it; touches nothing.
pub(super) fn today(dead_letter: &DeadLetter, options: &Options) -> Today {
    if let Some(version) = dead_letter.newer_version {
        return Today::NewerVersion(version);
    }
    let batch = match ha_batch::decode(&dead_letter.payload) {
        Ok(batch) => batch,
        Err(error) => {
            return Today::Fails {
                reason: "undecodable",
                error: error.to_string(),
            };
        }
    };
    let mut points = Vec::with_capacity(batch.envelopes.len());
    for envelope in &batch.envelopes {
        let enriched = catch_unwind(AssertUnwindSafe(|| {
            ha_enrich::enrich(envelope, batch.home.as_ref(), options)
                .map(|mut point| point.seal().then(|| point.to_line()))
        }));
        match enriched {
            Ok(Ok(line)) => points.extend(line),
            Ok(Err(error)) => {
                return Today::Fails {
                    reason: "invalid_event",
                    error: error.to_string(),
                };
            }
            Err(_) => {
                return Today::Fails {
                    reason: "poison",
                    error: "enrichment panics".to_owned(),
                };
            }
        }
    }
    Today::Points(points)
}
