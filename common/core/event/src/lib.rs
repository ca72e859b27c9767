//! Home Assistant's events as values: parsed from the untouched JSON bytes, borrowing from them.
//!
//! Nothing here performs IO or reads a clock. Shapes follow Home Assistant's WebSocket API
//! (<https://developers.home-assistant.io/docs/api/websocket>): the object under `event` of a
//! message of type `event`.

mod attributes;
mod event_text;
mod facts;
mod fingerprint;
mod peek;
mod state_changed;
mod time;

pub use attributes::{Attributes, Entries, Entry, Scalar};
pub use event_text::EventText;
pub use facts::Facts;
pub use fingerprint::fingerprint;
pub use peek::{Peek, peek};
pub use state_changed::{BusEvent, Context, Event, RawContext, State, StateChanged, parse};
pub use time::{ParseTimeError, UtcMicros};

/// Why bytes are not an event. Each one ends as a dead letter with the reason `invalid_event`.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not JSON, or JSON of another shape.
    #[error("not a Home Assistant event: {0}")]
    Shape(#[from] serde_json::Error),
    /// Both states are missing or null: nothing happened to anything.
    #[error("state_changed for {entity_id:?} carries neither an old nor a new state")]
    NoState {
        /// The entity the event names.
        entity_id: String,
    },
    /// The entity id is not `domain.object_id`.
    #[error("entity id {0:?} is not of the form domain.object_id")]
    EntityId(String),
    /// A time stamp that is not RFC 3339.
    #[error("{field}: {source}")]
    Time {
        /// The field that holds it.
        field: &'static str,
        /// What is wrong with it.
        source: ParseTimeError,
    },
}
