//! `INFLUXDB_SCHEMA=homeassistant`: the points that Home Assistant's own `influxdb` integration
//! writes, so that its dashboards go on working.
//!
//! After `homeassistant/components/influxdb/__init__.py`, `_generate_event_to_json`, of 2024.3.3,
//! in its order. It works on Python objects, this on their JSON: what JSON does not carry differs,
//! and `docs/schema-homeassistant.md` lists it.

mod python;

use ha_event::{Event, Scalar, State, StateChanged};
use ha_point::{FieldKey, Point, Prefix, Value};
use std::borrow::Cow;
use std::collections::HashSet;

/// What names a point's measurement (`measurement_attr`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MeasurementAttribute {
    /// The unit, such as `°C`.
    #[default]
    UnitOfMeasurement,
    /// `sensor__temperature`; the domain alone where there is no class.
    DomainDeviceClass,
    /// The entity.
    EntityId,
}

/// The integration's own settings, by their names there
/// (<https://www.home-assistant.io/integrations/influxdb/>).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HomeAssistantSchema {
    /// What names the measurement.
    pub measurement_attr: MeasurementAttribute,
    /// The measurement of entities without what `measurement_attr` asks for; else the entity id.
    pub default_measurement: Option<String>,
    /// The measurement of everything.
    pub override_measurement: Option<String>,
    /// Tags of every point.
    pub tags: Vec<(String, String)>,
    /// Attributes that become tags and no fields.
    pub tags_attributes: HashSet<String>,
    /// Attributes that become nothing.
    pub ignore_attributes: HashSet<String>,
}

/// Attributes of lights that are tuples in Python and lists in JSON.
const TUPLES: [&str; 5] = [
    "hs_color",
    "rgb_color",
    "xy_color",
    "rgbw_color",
    "rgbww_color",
];

/// Attributes that are times in Python and texts in JSON.
const TIMES: [&str; 2] = ["last_triggered", "media_position_updated_at"];

/// The point; without fields for what the integration skips.
pub(crate) fn point<'a>(event: &Event<'a>, schema: &HomeAssistantSchema) -> Point<'a> {
    let point = match event {
        Event::StateChanged(event) => state_changed(event, schema),
        Event::Bus(_) => None,
    };
    point.unwrap_or_else(|| Point::new("", 0))
}

/// None for removals and the states `unknown`, `unavailable` and nothing.
fn state_changed<'a>(event: &StateChanged<'a>, schema: &HomeAssistantSchema) -> Option<Point<'a>> {
    let state = event.new_state.as_ref()?;
    if matches!(state.state.as_ref(), "unknown" | "" | "unavailable") {
        return None;
    }
    let time = event.time_fired.or_else(|| event.source_time())?;
    let (measurement, named_by) = measurement(event, state, schema);
    let mut point = Point::new(measurement, time.as_nanos());
    let object_id = event.entity_id.split_once('.').map(|(_, object)| object);
    point.tag("domain", event.domain().to_owned());
    point.tag("entity_id", object_id.unwrap_or_default().to_owned());
    state_fields(&mut point, state.state.clone());
    for (name, json) in state.attributes.entries() {
        if schema.tags_attributes.contains(name.as_ref()) {
            let value = match Scalar::parse(json) {
                Scalar::Null => String::new(),
                scalar => as_text(&name, json, &scalar),
            };
            set_tag(&mut point, name, value.into());
        } else if Some(name.as_ref()) != named_by
            && !schema.ignore_attributes.contains(name.as_ref())
        {
            attribute(&mut point, name, json);
        }
    }
    for (name, value) in &schema.tags {
        set_tag(&mut point, name.clone().into(), value.clone().into());
    }
    Some(point)
}

/// The measurement, and the attribute that it was made of, which then is no field.
fn measurement<'a>(
    event: &StateChanged<'a>,
    state: &State<'a>,
    schema: &HomeAssistantSchema,
) -> (Cow<'a, str>, Option<&'static str>) {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(measurement) = set(&schema.override_measurement) {
        return (measurement.into(), None);
    }
    let attribute = |name: &str| {
        let (_, json) = state.attributes.entries().find(|(key, _)| key == name)?;
        match Scalar::parse(json) {
            Scalar::Null => None,
            scalar => Some(as_text(name, json, &scalar)),
        }
    };
    match schema.measurement_attr {
        MeasurementAttribute::EntityId => (event.entity_id.clone(), None),
        MeasurementAttribute::DomainDeviceClass => match attribute("device_class") {
            Some(class) => {
                let name = format!("{}__{class}", event.domain());
                (name.into(), Some("device_class"))
            }
            None => (event.domain().to_owned().into(), None),
        },
        MeasurementAttribute::UnitOfMeasurement => {
            match attribute("unit_of_measurement").filter(|unit| !unit.is_empty()) {
                Some(unit) => (unit.into(), Some("unit_of_measurement")),
                None => match set(&schema.default_measurement) {
                    Some(measurement) => (measurement.into(), None),
                    None => (event.entity_id.clone(), None),
                },
            }
        }
    }
}

/// `value` for what Python reads as a number; `state`, and `value` 1 or 0, for states with two
/// sides; `state` for the rest.
fn state_fields<'a>(point: &mut Point<'a>, state: Cow<'a, str>) {
    if let Some(number) = python::float(&state) {
        point.float("value", number);
        return;
    }
    // homeassistant/helpers/state.py, `state_as_number`.
    match state.as_ref() {
        "on" | "locked" | "above_horizon" | "open" | "home" => point.float("value", 1.0),
        "off" | "unlocked" | "below_horizon" | "closed" | "not_home" => point.float("value", 0.0),
        _ => {}
    }
    point.field("state", Value::Text(state));
}

fn attribute<'a>(point: &mut Point<'a>, name: Cow<'a, str>, json: &'a str) {
    let name = if has_field(point, &name) {
        Cow::Owned(format!("{name}_"))
    } else {
        name
    };
    let scalar = Scalar::parse(json);
    let number = match &scalar {
        Scalar::Boolean(value) => Some(f64::from(u8::from(*value))),
        Scalar::Number(number) => Some(*number),
        Scalar::Text(text) => python::float(text),
        Scalar::Null | Scalar::Json(_) => None,
    };
    if let Some(number) = number {
        set_field(point, name, Value::Float(number));
        return;
    }
    let text = as_text(&name, json, &scalar);
    let digits = python::digit_tail(&text);
    let text_name = format!("{name}_str");
    set_field(point, text_name.into(), Value::Text(text.into()));
    if let Some(number) = digits {
        set_field(point, name, Value::Float(number));
    }
}

/// Python's `str` of the value.
fn as_text(name: &str, json: &str, scalar: &Scalar<'_>) -> String {
    match scalar {
        Scalar::Text(text) if TIMES.contains(&name) => text.replacen('T', " ", 1),
        Scalar::Text(text) => text.clone().into_owned(),
        _ if TUPLES.contains(&name) => python::tuple(json),
        _ => python::repr(json),
    }
}

fn has_field(point: &Point<'_>, name: &str) -> bool {
    point.fields.iter().any(|(key, _)| key.name == name)
}

/// The later value of a name stands; a number that is not finite takes the name away.
fn set_field<'a>(point: &mut Point<'a>, name: Cow<'a, str>, value: Value<'a>) {
    point.fields.retain(|(key, _)| key.name != name);
    if !matches!(value, Value::Float(number) if !number.is_finite()) {
        let key = FieldKey {
            prefix: Prefix::Foreign,
            name,
        };
        point.fields.push((key, value));
    }
}

fn set_tag<'a>(point: &mut Point<'a>, name: Cow<'a, str>, value: Cow<'a, str>) {
    point.tags.retain(|(key, _)| *key != name);
    point.tags.push((name, value));
}
