//! The weather at the time of the event.

use super::outcome::Outcome;
use crate::facts::Facts;
use crate::{ObservedWeather, WeatherOutcome};
use ha_event::UtcMicros;
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
    let measures = weather.measures();
    if let Some(humidity) = measures.humidity {
        point.float("weather_humidity", humidity);
    }
    if let Some(celsius) = measures.celsius {
        point.float("weather_temperature", celsius);
    }
    true
}
