//! What enrichment found in one event, cheap enough to be handed back for every one.

use crate::{Basis, Flags};

/// What was found while one event was enriched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// The rules that the event broke; none at [`crate::Depth::Plain`], which validates nothing.
    pub flags: Flags,
    /// Whether the rules were looked at: not at [`crate::Depth::Plain`], and only of state changes.
    pub is_validated: bool,
    /// What became of the weather.
    pub weather: WeatherOutcome,
    /// Attributes that became no field, by reason.
    pub left_out: LeftOut,
}

impl Report {
    /// The score as it stands in the database: of what follows from the event itself. None for an
    /// event that was not validated.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        let flags = self.flags;
        self.is_validated.then(|| {
            if flags.is_empty() {
                100.0
            } else {
                flags.of_basis(Basis::Event).score()
            }
        })
    }
}

/// Attributes of a new state that became no field, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// As in the event's old state (`ATTRIBUTES=changed`).
    pub unchanged: u32,
    /// Named by `EXCLUDE_ATTRIBUTES`.
    pub excluded: u32,
    /// None are wanted (`ATTRIBUTES=none`).
    pub none_wanted: u32,
}

/// What became of the weather for one event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeatherOutcome {
    /// Not looked for: plain depth, switched off, or not a state change.
    #[default]
    NotWanted,
    /// No observation travelled with the event.
    Missing,
    /// The observation says nothing (`unavailable`, no number and no condition).
    Empty,
    /// The observation is of another hour than the event, or later than it.
    OtherTime,
    /// Written.
    Used,
}

impl WeatherOutcome {
    /// In words, for people.
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::NotWanted => "weather is not asked for",
            Self::Missing => "no observation came with the event",
            Self::Empty => "the observation says nothing",
            Self::OtherTime => "the observation is not of the hour before the event",
            Self::Used => "observed within the hour before the event",
        }
    }
}
