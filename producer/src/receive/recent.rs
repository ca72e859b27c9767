//! The events that came lately, so that gap fill does not bring them a second time, and the entities
//! that there are or were: history is asked for by entity, and Home Assistant does not say which were
//! removed. Bounded: an event that is forgotten is written twice, which changes nothing in the
//! database. Pure.

use foldhash::HashMap;
use ha_event::UtcMicros;
use std::collections::VecDeque;

/// More than a minute and a half at 1,000 events a second.
const EVENTS_MAX: usize = 100_000;

/// Homes have thousands of entities at most.
const ENTITIES_MAX: usize = 100_000;

/// The times of recent events by entity, and the entities that are known.
#[derive(Debug, Default)]
pub struct Recent {
    /// Where an entity stands in `times`.
    entities: HashMap<Box<str>, u32>,
    /// Of each entity, rising: nearly every event is its entity's latest.
    times: Vec<VecDeque<UtcMicros>>,
    /// Which entities the events were of, as they came.
    order: VecDeque<u32>,
    /// Entities that were not taken yet, to be kept durably.
    unkept: Vec<Box<str>>,
}

impl Recent {
    /// Remembers an event: whether it is new, and whether its entity is. Of an entity too many no
    /// event is remembered.
    pub fn insert(&mut self, entity_id: &str, time: UtcMicros) -> (bool, bool) {
        let (known, learned) = match self.entities.get(entity_id).copied() {
            Some(known) => (known, false),
            None if self.learn(entity_id) => (self.times.len() as u32 - 1, true),
            None => return (true, false),
        };
        let times = &mut self.times[known as usize];
        if times.back().is_none_or(|latest| *latest < time) {
            times.push_back(time);
        } else if let Err(place) = times.binary_search(&time) {
            times.insert(place, time);
        } else {
            return (false, learned);
        }
        self.order.push_back(known);
        if self.order.len() > EVENTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.times[oldest as usize].pop_front();
        }
        (true, learned)
    }

    /// Remembers an entity; false if it was known, or too many are.
    pub fn learn(&mut self, entity_id: &str) -> bool {
        if self.entities.contains_key(entity_id) || self.entities.len() >= ENTITIES_MAX {
            return false;
        }
        let place = self.times.len() as u32;
        self.entities.insert(entity_id.into(), place);
        self.times.push(VecDeque::new());
        self.unkept.push(entity_id.into());
        true
    }

    /// The entities that were learned since this was asked last.
    pub fn take_unkept(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.unkept)
    }

    /// All known entities.
    pub fn entities(&self) -> impl Iterator<Item = &str> {
        self.entities.keys().map(AsRef::as_ref)
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
        assert_eq!(recent.order.len(), EVENTS_MAX);
        assert_eq!(
            recent.times.iter().map(VecDeque::len).sum::<usize>(),
            EVENTS_MAX
        );
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
