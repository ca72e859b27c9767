//! Open-Meteo's forecast API (<https://open-meteo.com/en/docs>), its current conditions: taken from
//! the documentation, tested against an answer of its shape.

use crate::{FetchError, Observation};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

/// Its public address.
pub(crate) const ADDRESS: &str = "https://api.open-meteo.com";

/// The address for those who have a key.
pub(crate) const ADDRESS_OF_CUSTOMERS: &str = "https://customer-api.open-meteo.com";

/// Variables asked for, and the attribute of Home Assistant's weather that each is.
const VARIABLES: [(&str, &str); 7] = [
    ("temperature_2m", "temperature"),
    ("apparent_temperature", "apparent_temperature"),
    ("relative_humidity_2m", "humidity"),
    ("pressure_msl", "pressure"),
    ("wind_speed_10m", "wind_speed"),
    ("wind_direction_10m", "wind_bearing"),
    ("cloud_cover", "cloud_coverage"),
];

pub(crate) fn request(base: &Url, latitude: f64, longitude: f64, key: Option<&str>) -> Url {
    let mut url = crate::url::below(base, "v1/forecast");
    let variables: Vec<_> = VARIABLES.iter().map(|(variable, _)| *variable).collect();
    let mut query = url.query_pairs_mut();
    query
        .append_pair("latitude", &latitude.to_string())
        .append_pair("longitude", &longitude.to_string())
        .append_pair(
            "current",
            &format!("{},is_day,weather_code", variables.join(",")),
        )
        .append_pair("wind_speed_unit", "ms")
        .append_pair("timeformat", "unixtime");
    if let Some(key) = key {
        query.append_pair("apikey", key);
    }
    drop(query);
    url
}

#[derive(Deserialize)]
struct Answer {
    current: Map<String, Value>,
}

pub(crate) fn observation(answer: &[u8]) -> Result<Observation, FetchError> {
    let unreadable = |text: String| FetchError::Unreadable(text);
    let answer: Answer =
        serde_json::from_slice(answer).map_err(|error| unreadable(error.to_string()))?;
    let number = |name: &str| answer.current.get(name).and_then(Value::as_f64);
    let time_s = answer.current.get("time").and_then(Value::as_i64);
    let code = number("weather_code");
    let (Some(time_s), Some(code)) = (time_s, code) else {
        return Err(unreadable(
            "current.time or current.weather_code is missing".into(),
        ));
    };
    let mut attributes = Map::new();
    for (variable, attribute) in VARIABLES {
        if let Some(value) = number(variable) {
            attributes.insert(attribute.into(), value.into());
        }
    }
    for (name, unit) in [
        ("temperature_unit", "°C"),
        ("pressure_unit", "hPa"),
        ("wind_speed_unit", "m/s"),
    ] {
        attributes.insert(name.into(), unit.into());
    }
    let is_day = number("is_day") != Some(0.0);
    Ok(Observation {
        observed_at_us: time_s.saturating_mul(1_000_000),
        condition: condition(code as u32, is_day).into(),
        attributes: Value::Object(attributes).to_string().into(),
    })
}

/// WMO's codes, as the documentation lists them, in Home Assistant's words.
fn condition(code: u32, is_day: bool) -> &'static str {
    match code {
        0 | 1 if is_day => "sunny",
        0 | 1 => "clear-night",
        2 => "partlycloudy",
        3 => "cloudy",
        45 | 48 => "fog",
        51..=57 | 61 | 63 | 80 | 81 => "rainy",
        65 | 82 => "pouring",
        66 | 67 => "snowy-rainy",
        71..=77 | 85 | 86 => "snowy",
        95 => "lightning-rainy",
        96 | 99 => "hail",
        _ => "exceptional",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape in the documentation, with the variables that are asked for.
    const DOCUMENTED: &str = r#"{"latitude":52.52,"longitude":13.419,"elevation":44.812,
      "generationtime_ms":2.2119,"utc_offset_seconds":0,"timezone":"GMT","timezone_abbreviation":"GMT",
      "current_units":{"time":"unixtime","interval":"seconds","temperature_2m":"°C"},
      "current":{"time":1795297500,"interval":900,"temperature_2m":2.4,"apparent_temperature":-1.3,
        "relative_humidity_2m":86,"pressure_msl":1021.5,"wind_speed_10m":3.3,"wind_direction_10m":95,
        "cloud_cover":100,"is_day":0,"weather_code":0}}"#;

    #[test]
    fn the_question_is_as_documented() {
        let base = "https://proxy.example/meteo/".parse().unwrap();
        assert_eq!(
            request(&base, 52.52, -13.4, Some("k&y")).as_str(),
            "https://proxy.example/meteo/v1/forecast?latitude=52.52&longitude=-13.4\
             &current=temperature_2m%2Capparent_temperature%2Crelative_humidity_2m%2Cpressure_msl%2C\
             wind_speed_10m%2Cwind_direction_10m%2Ccloud_cover%2Cis_day%2Cweather_code\
             &wind_speed_unit=ms&timeformat=unixtime&apikey=k%26y"
        );
    }

    #[test]
    fn the_documented_answer_is_an_observation() {
        let observation = observation(DOCUMENTED.as_bytes()).unwrap();
        assert_eq!(observation.observed_at_us, 1_795_297_500_000_000);
        assert_eq!(observation.condition, "clear-night");
        let attributes: Value = serde_json::from_str(&observation.attributes).unwrap();
        assert_eq!(attributes["temperature"], 2.4);
        assert_eq!(attributes["humidity"], 86.0);
        assert_eq!(attributes["temperature_unit"], "°C");
        assert_eq!(attributes["cloud_coverage"], 100.0);
    }

    #[test]
    fn an_answer_without_its_time_or_code_is_none() {
        for answer in [
            "",
            "{}",
            r#"{"current":{}}"#,
            r#"{"current":{"time":1}}"#,
            r#"{"current":{"time":"2026-01-01T00:00","weather_code":1}}"#,
            r#"{"current":null}"#,
        ] {
            assert!(observation(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
