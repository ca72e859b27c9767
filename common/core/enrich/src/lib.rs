//! From an envelope to a point: an ordered list of stages, each a pure function of the event, the
//! facts that travel with it and the options. No clock, no IO, no logging: the manifest holds
//! nothing to do them with.
//!
//! A point's measurement, tags and time are a function of the event's JSON and the instance name
//! alone. A field's value never depends on the way that the event took; a way may only leave
//! fields out, so that the same event written twice, in any order, merges to the same point. The
//! one exception is `origin` itself: of two ways that are not live, the field names the last that
//! wrote. What depends on when the event was received (`clock_flags`) is written for live events
//! only, which arrive once, and stands in a field of its own.

mod explain;
mod facts;
mod flags;
mod home_assistant;
mod measurements;
mod observation;
mod observed_weather;
mod options;
pub mod registry;
mod report;
mod rules;
mod stages;
mod units;
mod value;

use ha_batch::{Envelope, HomeFacts};
use ha_event::{Event, EventError};
use ha_point::Point;

pub use explain::{Explanation, StageOutcome, explain};
pub use flags::Flags;
pub use home_assistant::{HomeAssistantSchema, MeasurementAttribute};
pub use measurements::{BUS, ENTITIES, EVENTS, QUALITY};
pub use observation::{WEATHER, observation};
pub use observed_weather::ObservedWeather;
pub use options::{AttributePolicy, Depth, Options, Schema};
pub use registry::ExtraTag;
pub use report::{LeftOut, Report, WeatherOutcome};
pub use rules::{
    AppliesTo, Basis, RULES, Rule, Severity, is_restart_artefact, is_restart_placeholder,
};
pub use stages::{ENTITY_RECORD, EntityRecord, QUALITY_RECORD, QualityRecord, STAGE_NAMES};

/// Makes the point of one event. One without fields stands for an event that the schema
/// `homeassistant` leaves out: there is nothing to write.
///
/// # Errors
/// What is not an event, in the words that its dead letter will carry.
pub fn enrich<'a>(
    envelope: &'a Envelope<'_>,
    home: Option<&'a HomeFacts<'_>>,
    options: &Options,
) -> Result<Point<'a>, EventError> {
    enrich_with_report(envelope, home, options).map(|(point, _)| point)
}

/// Makes the point of one event, and says what was found on the way: what metrics count.
///
/// # Errors
/// As [`enrich`].
pub fn enrich_with_report<'a>(
    envelope: &'a Envelope<'_>,
    home: Option<&'a HomeFacts<'_>>,
    options: &Options,
) -> Result<(Point<'a>, Report), EventError> {
    let weather = home.and_then(|home| home.weather.as_ref());
    let observed = weather.map(ObservedWeather::of);
    enrich_among(envelope, observed.as_slice(), options)
}

/// Makes the point with the weather that was observed lately, of which the last observation before the
/// event counts.
///
/// # Errors
/// As [`enrich`].
pub fn enrich_among<'a>(
    envelope: &'a Envelope<'_>,
    observed: &[ObservedWeather<'a>],
    options: &Options,
) -> Result<(Point<'a>, Report), EventError> {
    enrich_first_stages(envelope, observed, options, STAGE_NAMES.len())
}

/// Runs only the first of the stages, to measure what the next one costs.
///
/// # Errors
/// As [`enrich`].
pub fn enrich_first_stages<'a>(
    envelope: &'a Envelope<'_>,
    observed: &[ObservedWeather<'a>],
    options: &Options,
    stages: usize,
) -> Result<(Point<'a>, Report), EventError> {
    let event = ha_event::parse(&envelope.json)?;
    if let Schema::HomeAssistant(schema) = &options.schema {
        return Ok((home_assistant::point(&event, schema), Report::default()));
    }
    match event {
        Event::StateChanged(event) => {
            stages::state_changed(&event, envelope, observed, options, stages)
        }
        Event::Bus(event) => Ok((stages::other(&event, envelope), Report::default())),
    }
}

#[cfg(test)]
mod tests;
