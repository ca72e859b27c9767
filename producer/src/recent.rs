//! The events that came lately, so that gap fill does not bring them a second time, and the entities
//! that there are or were: history is asked for by entity, and Home Assistant does not say which were
//! removed. Bounded: an event that is forgotten is written twice, which changes nothing in the
//! database. Pure.

use foldhash::HashSet;
use foldhash::quality::RandomState;
use ha_event::UtcMicros;
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// More than a minute and a half at 1,000 events a second.
const EVENTS_MAX: usize = 100_000;

/// Homes have thousands of entities at most.
const ENTITIES_MAX: usize = 100_000;

/// Identities of recent events, and the entities that are known.
#[derive(Debug, Default)]
pub struct Recent {
    hasher: RandomState,
    identities: HashSet<u64>,
    order: VecDeque<u64>,
    entities: HashSet<Box<str>>,
    /// Those of them that were not taken yet, to be kept durably.
    unkept: Vec<Box<str>>,
}

impl Recent {
    /// Remembers an event: whether it is new, and whether its entity is.
    pub fn insert(&mut self, entity_id: &str, time: UtcMicros) -> (bool, bool) {
        let learned = self.learn(entity_id);
        let identity = self.hasher.hash_one((entity_id, time));
        if !self.identities.insert(identity) {
            return (false, learned);
        }
        self.order.push_back(identity);
        if self.order.len() > EVENTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.identities.remove(&oldest);
        }
        (true, learned)
    }

    /// Remembers an entity; false if it was known, or too many are.
    pub fn learn(&mut self, entity_id: &str) -> bool {
        if self.entities.contains(entity_id) || self.entities.len() >= ENTITIES_MAX {
            return false;
        }
        self.entities.insert(entity_id.into());
        self.unkept.push(entity_id.into());
        true
    }

    /// The entities that were learned since this was asked last.
    pub fn take_unkept(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.unkept)
    }

    /// All known entities.
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
        assert_eq!(recent.insert("a.b", UtcMicros(1)), (true, true));
        assert_eq!(recent.insert("a.b", UtcMicros(1)), (false, false));
        assert_eq!(recent.insert("a.c", UtcMicros(1)), (true, true));
        for time in 2..=EVENTS_MAX as i64 + 1 {
            assert_eq!(recent.insert("a.b", UtcMicros(time)), (true, false));
        }
        assert_eq!(recent.identities.len(), EVENTS_MAX);
        assert!(
            recent.insert("a.b", UtcMicros(1)).0,
            "the oldest is forgotten"
        );
        assert_eq!(recent.entities().count(), 2);
        assert_eq!(recent.take_unkept(), ["a.b".into(), "a.c".into()]);
        assert!(!recent.learn("a.c") && recent.learn("a.d"));
        assert_eq!(recent.take_unkept(), ["a.d".into()]);
    }
}
