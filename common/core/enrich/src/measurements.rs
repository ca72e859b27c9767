//! The measurements of the native schema.

/// Measurement of state changes.
pub const EVENTS: &str = "home_assistant_events";

/// Measurement of all other events on the bus.
pub const BUS: &str = "home_assistant_bus";

/// Measurement of what the registries say of the entities.
pub const ENTITIES: &str = "home_assistant_entities";

/// Measurement of what the producer counts.
pub const QUALITY: &str = "data_quality";
