//! An observation of the weather as a point of its own.

use crate::units::{celsius, hectopascal, normalized};
use ha_batch::WeatherFacts;
use ha_event::{Attributes, Scalar};
use ha_point::{Point, Value};
use std::borrow::Cow;

/// Measurement of the weather itself.
pub const WEATHER: &str = "weather";

/// Attributes of Home Assistant's weather entities that are fields: attribute, the attribute of its
/// unit, field, the unit that it is written in. Attributes without a unit are percentages, degrees
/// of a compass and indices.
const FIELDS: [(&str, &str, &str, Quantity); 9] = [
    (
        "temperature",
        "temperature_unit",
        "temperature",
        Quantity::Temperature,
    ),
    (
        "apparent_temperature",
        "temperature_unit",
        "feels_like",
        Quantity::Temperature,
    ),
    (
        "dew_point",
        "temperature_unit",
        "dew_point",
        Quantity::Temperature,
    ),
    ("humidity", "", "humidity", Quantity::Plain),
    ("pressure", "pressure_unit", "pressure", Quantity::Pressure),
    (
        "wind_speed",
        "wind_speed_unit",
        "wind_speed",
        Quantity::Speed,
    ),
    ("wind_bearing", "", "wind_direction", Quantity::Plain),
    ("cloud_coverage", "", "cloudiness", Quantity::Plain),
    (
        "visibility",
        "visibility_unit",
        "visibility",
        Quantity::Distance,
    ),
];

#[derive(Debug, Clone, Copy)]
enum Quantity {
    /// As it is.
    Plain,
    /// °C
    Temperature,
    /// hPa
    Pressure,
    /// m/s
    Speed,
    /// m
    Distance,
}

impl Quantity {
    fn convert(self, value: f64, unit: Option<&str>) -> Option<f64> {
        let to = |target: &str, class: Option<&str>| {
            let (value, found) = normalized(value, unit?, class)?;
            (found == target).then_some(value)
        };
        match self {
            Self::Plain => Some(value),
            Self::Temperature => celsius(value, unit.unwrap_or("°C")),
            Self::Pressure => hectopascal(value, unit?),
            Self::Speed => to("m/s", None),
            Self::Distance => to("m", Some("distance")),
        }
    }
}

/// The point of one observation: temperatures in °C, pressure in hPa, wind in m/s, visibility in
/// metres. A measure whose unit cannot be read is left out. None if the observation says nothing.
#[must_use]
pub fn observation<'a>(
    instance: &'a str,
    provider: &'a str,
    weather: &'a WeatherFacts<'_>,
) -> Option<Point<'a>> {
    let condition = weather.condition.as_ref();
    if matches!(condition, "unavailable" | "unknown" | "") {
        return None;
    }
    let mut point = Point::new(WEATHER, weather.observed_at_us.saturating_mul(1_000));
    point.tag("instance", instance);
    point.tag("provider", provider);
    point.field("condition", Value::Text(Cow::Borrowed(condition)));
    let attributes = Attributes::of_text(&weather.attributes);
    for (attribute, unit, field, quantity) in FIELDS {
        let Some(value) = attributes.get(attribute).and_then(|value| value.number()) else {
            continue;
        };
        let unit = attributes.text(unit);
        if let Some(value) = quantity.convert(value, unit.as_deref()) {
            point.float(field, value);
        }
    }
    if let Some(Scalar::Text(text)) = attributes.get("description") {
        point.field("description", Value::Text(text));
    }
    Some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_written_in_fixed_units() {
        let weather = |condition: &'static str, attributes: &'static str| WeatherFacts {
            observed_at_us: 5,
            condition: condition.into(),
            attributes: attributes.into(),
        };
        let line = |weather: &WeatherFacts<'_>| {
            let mut point = observation("home", "home-assistant", weather)?;
            point.seal().then(|| point.to_line())
        };
        let full = weather(
            "partlycloudy",
            r#"{"temperature":68,"apparent_temperature":50,"temperature_unit":"°F","humidity":92,
            "pressure":29.92,"pressure_unit":"inHg","wind_speed":36,"wind_speed_unit":"km/h","wind_bearing":180.5,
            "cloud_coverage":40,"visibility":10,"visibility_unit":"km","description":"few clouds","forecast":[{"humidity":1}]}"#,
        );
        insta::assert_snapshot!(line(&full).unwrap(), @r#"weather,instance=home,provider=home-assistant cloudiness=40.0,condition="partlycloudy",description="few clouds",feels_like=10.0,humidity=92.0,pressure=1013.2074890667664,temperature=20.0,visibility=10000.0,wind_direction=180.5,wind_speed=10.0 5000"#);
        let odd = weather(
            "fog",
            r#"{"temperature":"warm","pressure":1000,"wind_speed":3,"wind_speed_unit":"Bft"}"#,
        );
        insta::assert_snapshot!(line(&odd).unwrap(), @r#"weather,instance=home,provider=home-assistant condition="fog" 5000"#);
        assert_eq!(line(&weather("unavailable", r#"{"temperature":3}"#)), None);
    }
}
