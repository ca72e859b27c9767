//! The weather at the time of the event.

use super::Outcome;
use crate::WeatherOutcome;
use crate::facts::{Facts, Weather};
use crate::units::celsius;
use ha_event::{Attributes, Scalar, UtcMicros};
use ha_point::{Point, Value};
use std::borrow::Cow;

const AGE_S_MAX: f64 = 3_600.0;

/// `weather_temperature` (°C), `weather_humidity` (%), `weather_condition`.
///
/// Only of an observation made within the hour before the event. One made after it is not taken,
/// however close: the last observation *before* an event is the same whenever the event is
/// processed, so an import or a backfill either writes what the live event wrote or nothing.
pub(super) fn weather<'a>(facts: &Facts<'a, '_>, outcome: &mut Outcome<'a>) {
    outcome.report.weather = match facts.weather {
        _ if !facts.options.weather => WeatherOutcome::NotWanted,
        None => WeatherOutcome::Missing,
        Some(weather) if !is_of_its_time(weather.observed_at, facts.time) => {
            WeatherOutcome::OtherTime
        }
        Some(weather) if write(weather, &mut outcome.point) => WeatherOutcome::Used,
        Some(_) => WeatherOutcome::Empty,
    };
}

fn is_of_its_time(observed_at: UtcMicros, event: UtcMicros) -> bool {
    (0.0..=AGE_S_MAX).contains(&event.seconds_since(observed_at))
}

/// False if the observation says nothing.
fn write<'a>(weather: Weather<'a>, point: &mut Point<'a>) -> bool {
    if matches!(weather.condition, "unavailable" | "unknown" | "") {
        return false;
    }
    point.field(
        "weather_condition",
        Value::Text(Cow::Borrowed(weather.condition)),
    );
    let (mut temperature, mut unit) = (None, None);
    for (name, value) in Attributes::of_text(weather.attributes).entries() {
        match (name.as_ref(), value) {
            ("temperature", value) => temperature = Scalar::parse(value).number(),
            ("temperature_unit", value) => unit = Some(Scalar::parse(value)),
            ("humidity", value) => {
                if let Some(humidity) = Scalar::parse(value).number() {
                    point.float("weather_humidity", humidity);
                }
            }
            _ => {}
        }
    }
    let temperature = temperature.and_then(|temperature| match &unit {
        Some(Scalar::Text(unit)) => celsius(temperature, unit),
        // Home Assistant's default, and what weather that it did not observe is given in.
        _ => Some(temperature),
    });
    if let Some(celsius) = temperature {
        point.float("weather_temperature", celsius);
    }
    true
}
