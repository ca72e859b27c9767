//! The events that came lately, so that gap fill does not bring them a second time. Bounded: what
//! is forgotten is written twice, which changes nothing in the database. Pure.

use ha_event::UtcMicros;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// More than a minute and a half at 1,000 events a second.
const EVENTS_MAX: usize = 100_000;

/// Homes have thousands of entities at most.
const ENTITIES_MAX: usize = 100_000;

/// Identities of recent events, and the entities that any event came of.
#[derive(Debug, Default)]
pub struct Recent {
    hasher: RandomState,
    identities: HashSet<u64>,
    order: VecDeque<u64>,
    entities: HashSet<Box<str>>,
}

impl Recent {
    /// Remembers an event; false if it was there.
    pub fn insert(&mut self, entity_id: &str, time: UtcMicros) -> bool {
        if !self.entities.contains(entity_id) && self.entities.len() < ENTITIES_MAX {
            self.entities.insert(entity_id.into());
        }
        let identity = self.hasher.hash_one((entity_id, time));
        if !self.identities.insert(identity) {
            return false;
        }
        self.order.push_back(identity);
        if self.order.len() > EVENTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.identities.remove(&oldest);
        }
        true
    }

    /// Entities that events came of.
    pub fn entities(&self) -> impl Iterator<Item = &str> {
        self.entities.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_new_once_and_memory_is_bounded() {
        let mut recent = Recent::default();
        assert!(recent.insert("a.b", UtcMicros(1)));
        assert!(!recent.insert("a.b", UtcMicros(1)));
        assert!(recent.insert("a.c", UtcMicros(1)));
        for time in 2..=EVENTS_MAX as i64 + 1 {
            assert!(recent.insert("a.b", UtcMicros(time)));
        }
        assert_eq!(recent.identities.len(), EVENTS_MAX);
        assert!(
            recent.insert("a.b", UtcMicros(1)),
            "the oldest is forgotten"
        );
        assert_eq!(recent.entities().count(), 2);
    }
}
