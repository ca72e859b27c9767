//! What the user chose of enrichment.

use crate::{ExtraTag, HomeAssistantSchema};
use std::collections::HashSet;

/// Which fields are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Only what the event itself says: `ENRICHMENT_MODE=disabled`, and direct writes.
    Plain,
    /// All stages.
    Full,
}

/// Which attributes become fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttributePolicy {
    /// Those that differ from the event's own old state.
    #[default]
    Changed,
    /// Every attribute of every event.
    All,
    /// None.
    None,
}

/// Which points events become: `INFLUXDB_SCHEMA`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Schema {
    /// Our own.
    #[default]
    Native,
    /// Those of Home Assistant's own integration. The other options do not touch them.
    HomeAssistant(Box<HomeAssistantSchema>),
}

/// Options of enrichment, the same for every event of a process.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which points.
    pub schema: Schema,
    /// Plain mapping or all stages.
    pub depth: Depth,
    /// Which attributes become fields.
    pub attributes: AttributePolicy,
    /// Names of attributes that never become fields.
    pub exclude_attributes: HashSet<String>,
    /// Whether `context_id`, `context_parent_id` and `context_user_id` are written.
    pub context_fields: bool,
    /// Whether `value_normalized` and `unit_normalized` are written.
    pub normalize_units: bool,
    /// Whether the weather that travels with the event is written; on by default, since it only
    /// travels where somebody asked for it.
    pub weather: bool,
    /// Registry facts that become tags, see [`crate::registry::tag`].
    pub extra_tags: Vec<ExtraTag>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schema: Schema::Native,
            depth: Depth::Full,
            attributes: AttributePolicy::default(),
            exclude_attributes: HashSet::new(),
            context_fields: false,
            normalize_units: false,
            weather: true,
            extra_tags: Vec::new(),
        }
    }
}
