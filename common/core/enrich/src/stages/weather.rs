//! The weather at the time of the event.

use super::Outcome;
use crate::WeatherOutcome;
use crate::facts::Facts;
use crate::units::celsius;
use ha_event::{Attributes, Scalar, UtcMicros};
use ha_frame::WeatherFacts;
use ha_point::{Point, Value};
use std::borrow::Cow;
use std::cell::OnceCell;

const AGE_S_MAX: f64 = 3_600.0;

/// An observation that events may be written with: its attributes are read for the first of them.
#[derive(Debug, Clone)]
pub struct ObservedWeather<'a> {
    pub(crate) facts: &'a WeatherFacts<'a>,
    measures: OnceCell<Measures>,
}

impl<'a> ObservedWeather<'a> {
    /// Of these facts.
    #[must_use]
    pub fn of(facts: &'a WeatherFacts<'a>) -> Self {
        Self {
            facts,
            measures: OnceCell::new(),
        }
    }
}

/// `weather_temperature` (°C), `weather_humidity` (%), `weather_condition`.
///
/// Only of an observation made within the hour before the event. One made after it is not taken,
/// however close: the last observation *before* an event is the same whenever the event is
/// processed, so an import or a backfill either writes what the live event wrote or nothing.
pub(super) fn weather<'a>(facts: &Facts<'a, '_>, outcome: &mut Outcome<'a>) {
    outcome.report.weather = match facts.weather {
        _ if !facts.options.weather => WeatherOutcome::NotWanted,
        None => WeatherOutcome::Missing,
        Some(weather) if !is_of_its_time(weather, facts.time) => WeatherOutcome::OtherTime,
        Some(weather) if write(weather, &mut outcome.point) => WeatherOutcome::Used,
        Some(_) => WeatherOutcome::Empty,
    };
}

fn is_of_its_time(weather: &ObservedWeather<'_>, event: UtcMicros) -> bool {
    let observed_at = UtcMicros(weather.facts.observed_at_us);
    (0.0..=AGE_S_MAX).contains(&event.seconds_since(observed_at))
}

/// False if the observation says nothing.
fn write<'a>(weather: &ObservedWeather<'a>, point: &mut Point<'a>) -> bool {
    let condition = weather.facts.condition.as_ref();
    if matches!(condition, "unavailable" | "unknown" | "") {
        return false;
    }
    point.field("weather_condition", Value::Text(Cow::Borrowed(condition)));
    let measures = weather.measures.get_or_init(|| read(weather.facts));
    if let Some(humidity) = measures.humidity {
        point.float("weather_humidity", humidity);
    }
    if let Some(celsius) = measures.celsius {
        point.float("weather_temperature", celsius);
    }
    true
}

/// The measures that stand beside events.
#[derive(Debug, Clone, Copy)]
struct Measures {
    celsius: Option<f64>,
    /// Per cent.
    humidity: Option<f64>,
}

fn read(facts: &WeatherFacts<'_>) -> Measures {
    let mut humidity = None;
    let (mut temperature, mut unit) = (None, None);
    for (name, value) in Attributes::of_text(&facts.attributes).entries() {
        match (name.as_ref(), value) {
            ("temperature", value) => temperature = Scalar::parse(value).number(),
            ("temperature_unit", value) => unit = Some(Scalar::parse(value)),
            ("humidity", value) => humidity = Scalar::parse(value).number(),
            _ => {}
        }
    }
    let temperature = temperature.and_then(|temperature| match &unit {
        Some(Scalar::Text(unit)) => celsius(temperature, unit),
        // Home Assistant's default, and what weather that it did not observe is given in.
        _ => Some(temperature),
    });
    Measures {
        celsius: temperature,
        humidity,
    }
}
