//! What the registries say of the entities, joined.

use ha_batch::EntityFacts;
use ha_enrich::EntityRecord;
use std::sync::Arc;

/// What the registries say of one entity.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EntityRow {
    /// What is stored.
    pub record: EntityRecord<'static>,
    /// The labels one by one.
    pub labels: Vec<String>,
}

impl EntityRow {
    /// What travels in batches; none for an entity that is in no registry.
    #[must_use]
    pub fn facts(&self) -> Option<EntityFacts<'_>> {
        let record = &self.record;
        record.integration.as_ref()?;
        Some(EntityFacts {
            entity_id: record.entity_id.as_ref().into(),
            area: record.area.as_deref().map(Into::into),
            floor: record.floor.as_deref().map(Into::into),
            device: record.device.as_deref().map(Into::into),
            integration: record.integration.as_deref().map(Into::into),
            labels: self
                .labels
                .iter()
                .map(|label| label.as_str().into())
                .collect(),
        })
    }
}

/// What the registries say of all entities that are kept.
#[derive(Debug, Default)]
pub struct Registry {
    pub(super) rows: foldhash::HashMap<Arc<str>, Arc<EntityRow>>,
}

impl Registry {
    /// What is known of an entity.
    #[must_use]
    pub fn row(&self, entity_id: &str) -> Option<&Arc<EntityRow>> {
        self.rows.get(entity_id)
    }

    /// Number of entities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Rows that say something else than before, or that are new.
    pub(super) fn changed_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = &'a EntityRow> {
        let changed = |(id, row): &(&Arc<str>, &Arc<EntityRow>)| {
            before
                .rows
                .get(*id)
                .is_none_or(|old| !Arc::ptr_eq(old, row))
        };
        self.rows
            .iter()
            .filter(changed)
            .map(|(_, row)| row.as_ref())
    }
}
