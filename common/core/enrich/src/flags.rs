//! The rules that an event breaks, as a set.

use crate::facts::Facts;
use crate::rules::{Basis, RULES, Rule, Severity, applying, bits};

/// Every rule that the event breaks.
pub(crate) fn broken(facts: &Facts<'_, '_>) -> Flags {
    let mut flags = Flags::default();
    for at in bits(applying(facts)) {
        if (RULES[at].is_broken)(facts) {
            flags.insert(at);
        }
    }
    flags
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
