//! What enrichment found in one event, cheap enough to be handed back for every one.

use crate::{Basis, RULES, Rule, Severity};

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

/// A set of broken rules: bit n stands for `RULES[n]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u64);

impl Flags {
    pub(crate) fn insert(&mut self, rule: usize) {
        self.0 |= 1 << rule;
    }

    /// No rule is broken.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as bits, in the order of [`RULES`], for counters indexed by rule.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether the rule of this id is broken; false for an id that no rule has.
    #[must_use]
    pub fn contains(self, id: &str) -> bool {
        self.iter().any(|rule| rule.id == id)
    }

    /// The broken rules, in the order of [`RULES`].
    pub fn iter(self) -> impl Iterator<Item = &'static Rule> {
        RULES
            .iter()
            .enumerate()
            .filter(move |(at, _)| self.0 & (1 << at) != 0)
            .map(|(_, rule)| rule)
    }

    /// Those that compare the event with this.
    #[must_use]
    pub fn of_basis(self, basis: Basis) -> Self {
        let mut kept = Self::default();
        for (at, rule) in RULES.iter().enumerate() {
            if self.0 & (1 << at) != 0 && rule.basis == basis {
                kept.insert(at);
            }
        }
        kept
    }

    /// Ids, comma between them, as they stand in the database.
    #[must_use]
    pub fn ids(self) -> String {
        let ids: Vec<_> = self.iter().map(|rule| rule.id).collect();
        ids.join(",")
    }

    /// 100 less 50 for every error and 10 for every warning, never under 0.
    #[must_use]
    pub fn score(self) -> f64 {
        let lost: u32 = self
            .iter()
            .map(|rule| match rule.severity {
                Severity::Error => 50,
                Severity::Warning => 10,
                Severity::Info => 0,
            })
            .sum();
        f64::from(100_u32.saturating_sub(lost))
    }
}
