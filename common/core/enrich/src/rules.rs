//! What a truthful event looks like, as data. An event that breaks a rule is stored anyway,
//! with the rule's id.
//!
//! The rules are the original product's with their mistakes corrected: units are read before a
//! range is held against a number, states that a device class does not make numeric are not asked
//! to be, a home whose climate is in °F is not in error, and the clock is compared with the time of
//! reception, for live events only.

mod checks;
mod domains;

use crate::facts::Facts;
pub use checks::{is_restart_artefact, is_restart_placeholder};
use domains::{NUMERIC_CLASSES, ON_OFF_DOMAINS, UNITLESS_CLASSES};
use ha_batch::Origin;
use std::sync::LazyLock;

/// How much a broken rule counts; see [`crate::Flags::score`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something happened that a reader should know of; nothing is wrong with the event.
    Info,
    /// Suspicious.
    Warning,
    /// Wrong.
    Error,
}

impl Severity {
    /// The word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a rule compares the event with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Itself: the outcome is a function of the event's JSON, and stands in `quality_flags`.
    Event,
    /// The time of reception; only live events, which are received once. Stands in `clock_flags`.
    Clock,
}

/// Which events a rule is for.
#[derive(Debug, Clone, Copy)]
pub enum AppliesTo {
    /// All.
    Every,
    /// Entities of these domains that have a new state.
    Domains(&'static [&'static str]),
    /// Sensors and numbers of these device classes that have a new state.
    SensorClasses(&'static [&'static str]),
    /// Sensors and numbers that have a new state and a state class of `total_increasing`.
    TotalIncreasing,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Stands in the database and as a label of metrics; never changes its meaning.
    pub id: &'static str,
    /// Which events it is for.
    pub applies_to: AppliesTo,
    /// What it compares with.
    pub basis: Basis,
    /// How much it counts.
    pub severity: Severity,
    /// What is said of an event that breaks it.
    pub says: &'static str,
    pub(crate) is_broken: fn(&Facts<'_, '_>) -> bool,
}

/// The rules that are for the event, as bits in the order of [`RULES`].
pub(crate) fn applying(facts: &Facts<'_, '_>) -> u64 {
    let by_name: &ByName = &BY_NAME;
    let mut rules = by_name.of_event;
    if facts.arrival.origin == Origin::Live {
        rules |= by_name.of_clock;
    }
    if facts.event.new_state.is_none() {
        return rules;
    }
    rules |= found(&by_name.of_domains, facts.domain);
    if matches!(facts.domain, "sensor" | "number") {
        if let Some(class) = facts.device_class.as_deref() {
            rules |= found(&by_name.of_classes, class);
        }
        if facts.is_total_increasing {
            rules |= by_name.of_counters;
        }
    }
    rules
}

/// Whom each rule is for, the other way round: looked up once an event, not once a rule.
#[derive(Default)]
struct ByName {
    of_event: u64,
    of_clock: u64,
    of_counters: u64,
    /// Sorted.
    of_domains: Vec<(&'static str, u64)>,
    /// Sorted.
    of_classes: Vec<(&'static str, u64)>,
}

static BY_NAME: LazyLock<ByName> = LazyLock::new(|| {
    let mut by_name = ByName::default();
    let add = |names: &mut Vec<(&'static str, u64)>, wanted: &[&'static str], bit: u64| {
        for name in wanted {
            match names.binary_search_by_key(name, |(name, _)| *name) {
                Ok(at) => names[at].1 |= bit,
                Err(at) => names.insert(at, (*name, bit)),
            }
        }
    };
    for (at, rule) in RULES.iter().enumerate() {
        let bit = 1 << at;
        match rule.applies_to {
            AppliesTo::Every if rule.basis == Basis::Clock => by_name.of_clock |= bit,
            AppliesTo::Every => by_name.of_event |= bit,
            AppliesTo::Domains(domains) => add(&mut by_name.of_domains, domains, bit),
            AppliesTo::SensorClasses(classes) => add(&mut by_name.of_classes, classes, bit),
            AppliesTo::TotalIncreasing => by_name.of_counters |= bit,
        }
    }
    by_name
});

fn found(names: &[(&str, u64)], name: &str) -> u64 {
    let at = names.binary_search_by_key(&name, |(name, _)| *name);
    at.map_or(0, |at| names[at].1)
}

/// The places of the bits that are set.
pub(crate) fn bits(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (at < 64).then_some(at)
    })
}

const fn rule(
    id: &'static str,
    applies_to: AppliesTo,
    severity: Severity,
    is_broken: fn(&Facts<'_, '_>) -> bool,
    says: &'static str,
) -> Rule {
    Rule {
        id,
        applies_to,
        basis: Basis::Event,
        severity,
        says,
        is_broken,
    }
}

const fn clock(
    id: &'static str,
    severity: Severity,
    is_broken: fn(&Facts<'_, '_>) -> bool,
    says: &'static str,
) -> Rule {
    Rule {
        basis: Basis::Clock,
        ..rule(id, AppliesTo::Every, severity, is_broken, says)
    }
}

use AppliesTo::{Domains, Every, SensorClasses, TotalIncreasing};
use Severity::{Error, Info, Warning};

const CLIMATE: AppliesTo = Domains(&["climate"]);
const WEATHER: AppliesTo = Domains(&["weather"]);
const THERMOMETERS: AppliesTo = SensorClasses(&["temperature"]);

/// All rules: the closed vocabulary of `quality_flags`, `clock_flags` and of the label `rule`.
#[rustfmt::skip]
pub static RULES: [Rule; 30] = [
    rule("entity_id_form", Every, Error, checks::entity_id_form,
        "the entity id is not of the form that Home Assistant allows"),
    rule("entity_ids_differ", Every, Error, checks::entity_ids_differ,
        "a state names another entity than the event"),
    rule("last_changed_missing", Every, Error, checks::last_changed_missing,
        "the new state has no readable last_changed"),
    rule("last_updated_missing", Every, Error, checks::last_updated_missing,
        "the new state has no last_updated; the event's own time stands in"),
    rule("attributes_not_object", Every, Error, checks::attributes_not_object,
        "the attributes are no object, and no fields"),
    rule("changed_after_updated", Every, Error, checks::changed_after_updated,
        "the state changed later than it was updated"),
    rule("new_before_old", Every, Warning, checks::new_before_old,
        "the new state is older than the old one: Home Assistant's clock went back"),
    rule("state_too_long", Every, Error, checks::state_too_long,
        "the state is longer than the 255 characters that Home Assistant allows"),
    rule("unknown_domain", Every, Info, checks::unknown_domain,
        "no integration of Home Assistant's own has entities of this domain"),
    rule("state_not_numeric", SensorClasses(NUMERIC_CLASSES), Error, checks::state_not_numeric,
        "the device class is one of numbers, the state is none"),
    rule("unit_missing", SensorClasses(NUMERIC_CLASSES), Warning, checks::unit_missing,
        "a number of this device class means nothing without a unit"),
    rule("unit_unexpected", SensorClasses(UNITLESS_CLASSES), Warning, checks::unit_unexpected,
        "this device class has no unit"),
    rule("temperature_unit", THERMOMETERS, Warning, checks::temperature_unit,
        "the unit is none of temperature"),
    rule("temperature_below_absolute_zero", THERMOMETERS, Error, checks::temperature_impossible,
        "colder than -273.15 °C"),
    rule("temperature_range", THERMOMETERS, Warning, checks::temperature_range,
        "outside -100 to 100 °C"),
    rule("percentage_range", SensorClasses(&["battery", "humidity", "moisture"]), Warning,
        checks::percentage_range, "outside 0 to 100 %"),
    rule("pressure_range", SensorClasses(&["atmospheric_pressure"]), Warning, checks::pressure_range,
        "outside 800 to 1200 hPa"),
    rule("brightness_range", Domains(&["light"]), Error, checks::brightness_range,
        "the brightness is not a number from 0 to 255"),
    rule("state_not_on_off", Domains(ON_OFF_DOMAINS), Error, checks::state_not_on_off,
        "the domain knows on and off only"),
    rule("climate_mode_unknown", CLIMATE, Warning, checks::climate_mode_unknown,
        "no mode that Home Assistant knows"),
    rule("climate_temperature_not_numeric", CLIMATE, Error, checks::climate_not_numeric,
        "a temperature of the thermostat is not a number"),
    rule("climate_temperature_range", CLIMATE, Warning, checks::climate_range,
        "outside -50 to 50 °C, taken as °F where the home may be one of °F"),
    rule("weather_temperature_range", WEATHER, Warning, checks::weather_temperature,
        "outside -50 to 60 °C"),
    rule("weather_humidity_range", WEATHER, Warning, checks::weather_humidity,
        "outside 0 to 100 %"),
    rule("weather_pressure_range", WEATHER, Warning, checks::weather_pressure,
        "outside 800 to 1200 hPa"),
    rule("counter_reset", TotalIncreasing, Info, checks::counter_reset,
        "the counter began again"),
    rule("counter_decreased", TotalIncreasing, Warning, checks::counter_decreased,
        "the counter fell by less than a tenth, which Home Assistant does not take for a reset"),
    rule("restart_artefact", Every, Info, checks::restart_artefact,
        "written by a restart or a reload of Home Assistant, not by a device"),
    clock("from_future", Error, checks::from_future,
        "more than an hour later than its own reception"),
    clock("out_of_date", Warning, checks::out_of_date,
        "received more than a day after it happened"),
];

const _: () = assert!(RULES.len() <= 64, "flags are the bits of a u64");
