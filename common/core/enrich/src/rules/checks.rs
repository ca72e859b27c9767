//! The checks, one a rule: true means broken. A rule's range is in its own unit; a number without
//! a unit that can be read is not held against it.

use super::domains::is_known;
use crate::facts::Facts;
use crate::units::{celsius, hectopascal};
use crate::value::number;
use ha_event::{Event, Scalar, State, StateChanged, UtcMicros};

type F<'a, 'f> = Facts<'a, 'f>;

const HOUR_S: f64 = 3_600.0;
const DAY_S: f64 = 86_400.0;
const STATE_CHARACTERS_MAX: usize = 255;

fn new<'x>(facts: &'x F<'_, '_>) -> Option<&'x State<'x>> {
    facts.event.new_state.as_ref()
}

/// Says something: not `unavailable`, not `unknown`.
fn available<'x>(facts: &'x F<'_, '_>) -> Option<&'x str> {
    new(facts)
        .map(|state| state.state.as_ref())
        .filter(|state| !matches!(*state, "unavailable" | "unknown"))
}

/// Home Assistant's `VALID_ENTITY_ID`: two parts of lower case letters, digits and underscores,
/// neither beginning or ending with an underscore, the first without a double one.
pub(super) fn entity_id_form(facts: &F<'_, '_>) -> bool {
    let is_part = |part: &[u8]| {
        part.iter().all(|byte| OF_ENTITY_ID[usize::from(*byte)])
            && part.first().is_some_and(|byte| *byte != b'_')
            && part.last().is_some_and(|byte| *byte != b'_')
    };
    let domain = facts.domain.as_bytes();
    let object = facts.event.entity_id.as_bytes().get(domain.len() + 1..);
    let is_double = |pair: &[u8]| pair == b"__";
    !object.is_some_and(|object| {
        is_part(domain) && is_part(object) && !domain.windows(2).any(is_double)
    })
}

/// One look a byte: it is asked of every event.
static OF_ENTITY_ID: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        allowed[byte] = matches!(byte as u8, b'a'..=b'z' | b'0'..=b'9' | b'_');
        byte += 1;
    }
    allowed
};

pub(super) fn entity_ids_differ(facts: &F<'_, '_>) -> bool {
    let differs = |state: &Option<State<'_>>| {
        let id = state.as_ref().and_then(|state| state.entity_id.as_ref());
        id.is_some_and(|id| *id != facts.event.entity_id)
    };
    differs(&facts.event.new_state) || differs(&facts.event.old_state)
}

pub(super) fn last_changed_missing(facts: &F<'_, '_>) -> bool {
    new(facts).is_some_and(|state| state.last_changed.is_none())
}

pub(super) fn last_updated_missing(facts: &F<'_, '_>) -> bool {
    new(facts).is_some_and(|state| state.last_updated.is_none())
}

pub(super) fn attributes_not_object(facts: &F<'_, '_>) -> bool {
    new(facts).is_some_and(|state| !state.attributes.is_object())
}

pub(super) fn changed_after_updated(facts: &F<'_, '_>) -> bool {
    new(facts).is_some_and(|state| match (state.last_changed, state.last_updated) {
        (Some(changed), Some(updated)) => changed > updated,
        _ => false,
    })
}

pub(super) fn new_before_old(facts: &F<'_, '_>) -> bool {
    let old = facts
        .event
        .old_state
        .as_ref()
        .and_then(|state| state.last_updated);
    old.is_some_and(|old| facts.time < old)
}

pub(super) fn state_too_long(facts: &F<'_, '_>) -> bool {
    new(facts).is_some_and(|state| {
        state.state.len() > STATE_CHARACTERS_MAX
            && state.state.chars().count() > STATE_CHARACTERS_MAX
    })
}

pub(super) fn unknown_domain(facts: &F<'_, '_>) -> bool {
    !is_known(facts.domain)
}

pub(super) fn state_not_numeric(facts: &F<'_, '_>) -> bool {
    available(facts).is_some() && facts.value.is_none()
}

pub(super) fn unit_missing(facts: &F<'_, '_>) -> bool {
    facts.value.is_some() && facts.unit.as_deref().is_none_or(str::is_empty)
}

pub(super) fn unit_unexpected(facts: &F<'_, '_>) -> bool {
    let unit = facts.unit.as_deref();
    unit.is_some_and(|unit| !unit.is_empty() && !unit.eq_ignore_ascii_case("ph"))
}

pub(super) fn temperature_unit(facts: &F<'_, '_>) -> bool {
    facts
        .unit
        .as_deref()
        .is_some_and(|unit| !unit.is_empty() && celsius(0.0, unit).is_none())
}

fn sensor_celsius(facts: &F<'_, '_>) -> Option<f64> {
    celsius(facts.value?, facts.unit.as_deref()?)
}

pub(super) fn temperature_impossible(facts: &F<'_, '_>) -> bool {
    // A hair below, because a conversion from °F is off in the last digits of a float.
    sensor_celsius(facts).is_some_and(|celsius| celsius < -273.150_001)
}

pub(super) fn temperature_range(facts: &F<'_, '_>) -> bool {
    sensor_celsius(facts).is_some_and(|celsius| !(-100.0..=100.0).contains(&celsius))
}

pub(super) fn percentage_range(facts: &F<'_, '_>) -> bool {
    let is_percent = facts.unit.as_deref() == Some("%");
    is_percent
        && facts
            .value
            .is_some_and(|value| !(0.0..=100.0).contains(&value))
}

fn is_odd_pressure(hectopascal: f64) -> bool {
    !(800.0..=1_200.0).contains(&hectopascal)
}

pub(super) fn pressure_range(facts: &F<'_, '_>) -> bool {
    let pressure = facts.value.zip(facts.unit.as_deref());
    pressure
        .and_then(|(value, unit)| hectopascal(value, unit))
        .is_some_and(is_odd_pressure)
}

/// What is there and not null must be a number in the range.
fn attribute_outside(facts: &F<'_, '_>, name: &str, range: std::ops::RangeInclusive<f64>) -> bool {
    match facts.attribute(name) {
        None | Some(Scalar::Null) => false,
        Some(Scalar::Number(number)) => !range.contains(&number),
        Some(_) => true,
    }
}

pub(super) fn brightness_range(facts: &F<'_, '_>) -> bool {
    attribute_outside(facts, "brightness", 0.0..=255.0)
}

pub(super) fn state_not_on_off(facts: &F<'_, '_>) -> bool {
    available(facts).is_some_and(|state| !matches!(state, "on" | "off"))
}

pub(super) fn climate_mode_unknown(facts: &F<'_, '_>) -> bool {
    available(facts).is_some_and(|state| {
        !matches!(
            state,
            "off" | "heat" | "cool" | "heat_cool" | "auto" | "dry" | "fan_only"
        )
    })
}

const CLIMATE_TEMPERATURES: [&str; 4] = [
    "temperature",
    "current_temperature",
    "target_temp_high",
    "target_temp_low",
];

pub(super) fn climate_not_numeric(facts: &F<'_, '_>) -> bool {
    CLIMATE_TEMPERATURES.into_iter().any(|name| {
        !matches!(
            facts.attribute(name),
            None | Some(Scalar::Null | Scalar::Number(_))
        )
    })
}

/// Thermostats do not say their unit. -50 to 50 °C in °F is -58 to 122: what lies outside is wrong
/// in either.
pub(super) fn climate_range(facts: &F<'_, '_>) -> bool {
    CLIMATE_TEMPERATURES
        .into_iter()
        .any(|name| match facts.attribute(name) {
            Some(Scalar::Number(number)) => !(-58.0..=122.0).contains(&number),
            _ => false,
        })
}

/// A measure of the weather in the unit that stands beside it.
fn weather_measure(
    facts: &F<'_, '_>,
    (name, unit): (&str, &str),
    convert: fn(f64, &str) -> Option<f64>,
) -> Option<f64> {
    let number = facts.attribute(name)?.number()?;
    match facts.attribute(unit)? {
        Scalar::Text(unit) => convert(number, &unit),
        _ => None,
    }
}

pub(super) fn weather_temperature(facts: &F<'_, '_>) -> bool {
    weather_measure(facts, ("temperature", "temperature_unit"), celsius)
        .is_some_and(|celsius| !(-50.0..=60.0).contains(&celsius))
}

pub(super) fn weather_humidity(facts: &F<'_, '_>) -> bool {
    attribute_outside(facts, "humidity", 0.0..=100.0)
}

pub(super) fn weather_pressure(facts: &F<'_, '_>) -> bool {
    weather_measure(facts, ("pressure", "pressure_unit"), hectopascal).is_some_and(is_odd_pressure)
}

/// The old and the new reading of a counter that fell.
fn fall(facts: &F<'_, '_>) -> Option<(f64, f64)> {
    let old = number(&facts.event.old_state.as_ref()?.state)?;
    facts.value.filter(|new| *new < old).map(|new| (old, new))
}

/// Home Assistant's `reset_detected`: below nine tenths of the last reading.
/// (<https://developers.home-assistant.io/docs/core/entity/sensor/#state-class-total_increasing>)
pub(super) fn counter_reset(facts: &F<'_, '_>) -> bool {
    fall(facts).is_some_and(|(old, new)| new < 0.9 * old)
}

pub(super) fn counter_decreased(facts: &F<'_, '_>) -> bool {
    fall(facts).is_some_and(|(old, new)| new >= 0.9 * old)
}

pub(super) fn restart_artefact(facts: &F<'_, '_>) -> bool {
    is_restart_artefact(facts.event)
}

/// Whether the event only says that Home Assistant (or one integration) was started or loaded
/// again. While an entity of the registry waits for its integration, Home Assistant itself writes it
/// as `unavailable` with the attribute `restored: true`; that state, and the one that follows it,
/// are no news of the house. A device that really went away is `unavailable` without `restored`.
#[must_use]
pub fn is_restart_artefact(event: &StateChanged<'_>) -> bool {
    is_placeholder(&event.new_state) || is_placeholder(&event.old_state)
}

fn is_placeholder(state: &Option<State<'_>>) -> bool {
    state.as_ref().is_some_and(|state| {
        state.state == "unavailable"
            && state.attributes.get("restored") == Some(Scalar::Boolean(true))
    })
}

/// Whether the event's new state is one that a restart or reload wrote in place of the real one:
/// what `RESTART_ARTEFACTS=filter` leaves out. The state that takes its place again is not: the
/// house may have changed in between, and nobody would say so a second time. Bytes that are no
/// event are none.
#[must_use]
pub fn is_restart_placeholder(json: &[u8]) -> bool {
    // Hardly any event holds the word, and parsing costs far more than looking for it.
    memchr::memmem::find(json, b"\"restored\"").is_some()
        && matches!(ha_event::parse(json), Ok(Event::StateChanged(event))
            if is_placeholder(&event.new_state))
}

fn age_s(facts: &F<'_, '_>) -> f64 {
    let received: UtcMicros = facts.arrival.received_at;
    received.seconds_since(facts.time)
}

pub(super) fn from_future(facts: &F<'_, '_>) -> bool {
    age_s(facts) < -HOUR_S
}

pub(super) fn out_of_date(facts: &F<'_, '_>) -> bool {
    age_s(facts) > DAY_S
}
