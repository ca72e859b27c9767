//! From an envelope to a point: an ordered list of stages, each a pure function of the event, the
//! facts that travel with it and the options. No clock, no IO, no logging: the manifest holds
//! nothing to do them with.
//!
//! A point's measurement, tags and time are a function of the event's JSON and the instance name
//! alone. A field's value never depends on the way that the event took; a way may only leave
//! fields out, so that the same event written twice, in any order, merges to the same point.

mod options;
mod stages;

use ha_event::{Event, EventError};
use ha_frame::{Envelope, HomeFacts};
use ha_point::Point;

pub use options::{AttributePolicy, Depth, Options};

/// Measurement of state changes.
pub const EVENTS: &str = "home_assistant_events";

/// Measurement of all other events on the bus.
pub const BUS: &str = "home_assistant_bus";

/// Makes the point of one event.
///
/// # Errors
/// What is not an event, in the words that its dead letter will carry.
pub fn enrich<'a>(
    envelope: &'a Envelope<'_>,
    home: Option<&'a HomeFacts<'_>>,
    options: &Options,
) -> Result<Point<'a>, EventError> {
    match ha_event::parse(&envelope.json)? {
        Event::StateChanged(event) => stages::state_changed(&event, envelope, home, options),
        Event::Bus(event) => Ok(stages::bus(&event, envelope)),
    }
}

#[cfg(test)]
mod tests;
