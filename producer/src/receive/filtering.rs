//! Which entities are kept, and which of them are known.

use crate::receive::recent::Recent;
use ha_event::UtcMicros;
use ha_filter::{Filter, FilterReason};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Which entities are kept, and which events came lately.
#[derive(Debug, Clone)]
pub struct Filtering {
    filter: Arc<Filter>,
    recent: Arc<Mutex<Recent>>,
    /// Told when an entity is new.
    learned: Arc<Notify>,
}

impl Filtering {
    /// Nothing has come yet, but these entities are known from earlier runs.
    #[must_use]
    pub fn new(filter: Filter, known: impl IntoIterator<Item = String>) -> Self {
        let mut recent = Recent::default();
        for entity_id in known {
            recent.learn(&entity_id);
        }
        recent.take_unkept();
        Self {
            filter: Arc::new(filter),
            recent: Arc::new(Mutex::new(recent)),
            learned: Arc::default(),
        }
    }

    /// Whether events of the entity are kept.
    #[must_use]
    pub fn keeps(&self, entity_id: &str) -> bool {
        self.filter.decide(entity_id).is_ok()
    }

    /// Remembers entities that there are.
    pub fn learn_entities<'a>(&self, entities: impl Iterator<Item = &'a str>) {
        let mut recent = self.recent();
        let mut learned = false;
        for entity in entities {
            learned |= recent.learn(entity);
        }
        if learned {
            self.learned.notify_one();
        }
    }

    /// Waits for entities that were not known, and gives them once.
    pub async fn learned_entities(&self) -> Vec<Box<str>> {
        loop {
            let learned = self.recent().take_unkept();
            if !learned.is_empty() {
                return learned;
            }
            self.learned.notified().await;
        }
    }

    /// Kept entities that there are or were, sorted.
    #[must_use]
    pub fn known_entities(&self) -> BTreeSet<String> {
        self.recent()
            .entities()
            .filter(|entity| self.keeps(entity))
            .map(str::to_owned)
            .collect()
    }

    /// Why an event is left out.
    ///
    /// # Errors
    /// The rule that leaves it out.
    pub fn decide(&self, entity_id: &str, json: &[u8]) -> Result<(), FilterReason> {
        self.filter.decide(entity_id)?;
        if self.filter.excludes_restart_artefacts() && ha_enrich::is_restart_placeholder(json) {
            return Err(FilterReason::RestartArtefact);
        }
        Ok(())
    }

    /// Remembers an event; false if it was there.
    pub fn remember(&self, entity_id: &str, time: UtcMicros) -> bool {
        let (is_new, learned) = self.recent().insert(entity_id, time);
        if learned {
            self.learned.notify_one();
        }
        is_new
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
