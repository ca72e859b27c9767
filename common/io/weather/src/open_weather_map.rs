//! OpenWeatherMap's current weather (<https://openweathermap.org/current>): taken from the
//! documentation, tested against an answer of its shape.

use crate::{FetchError, Observation};
use serde::Deserialize;
use serde_json::json;
use url::Url;

/// Its public address.
pub(crate) const ADDRESS: &str = "https://api.openweathermap.org";

pub(crate) fn request(base: &Url, latitude: f64, longitude: f64, key: Option<&str>) -> Url {
    let mut url = crate::url::below(base, "data/2.5/weather");
    url.query_pairs_mut()
        .append_pair("lat", &latitude.to_string())
        .append_pair("lon", &longitude.to_string())
        .append_pair("units", "metric")
        .append_pair("appid", key.unwrap_or_default());
    url
}

#[derive(Deserialize)]
struct Answer {
    /// Seconds since 1970.
    dt: i64,
    weather: Vec<Weather>,
    #[serde(default)]
    main: Main,
    /// Metres, 10 km at most.
    visibility: Option<f64>,
    #[serde(default)]
    wind: Wind,
    #[serde(default)]
    clouds: Clouds,
}

#[derive(Deserialize)]
struct Weather {
    id: u32,
    #[serde(default)]
    description: String,
    /// Ends with `n` at night.
    #[serde(default)]
    icon: String,
}

#[derive(Deserialize, Default)]
struct Main {
    temp: Option<f64>,
    feels_like: Option<f64>,
    /// hPa, on sea level.
    pressure: Option<f64>,
    humidity: Option<f64>,
}

#[derive(Deserialize, Default)]
struct Wind {
    /// m/s with metric units.
    speed: Option<f64>,
    deg: Option<f64>,
}

#[derive(Deserialize, Default)]
struct Clouds {
    all: Option<f64>,
}

pub(crate) fn observation(answer: &[u8]) -> Result<Observation, FetchError> {
    let answer: Answer = serde_json::from_slice(answer)
        .map_err(|error| FetchError::Unreadable(error.to_string()))?;
    let Some(weather) = answer.weather.first() else {
        return Err(FetchError::Unreadable("weather is empty".into()));
    };
    let mut attributes = json!({
        "temperature": answer.main.temp,
        "apparent_temperature": answer.main.feels_like,
        "temperature_unit": "°C",
        "humidity": answer.main.humidity,
        "pressure": answer.main.pressure,
        "pressure_unit": "hPa",
        "wind_speed": answer.wind.speed,
        "wind_speed_unit": "m/s",
        "wind_bearing": answer.wind.deg,
        "cloud_coverage": answer.clouds.all,
        "visibility": answer.visibility,
        "visibility_unit": "m",
        "description": weather.description,
    });
    if let Some(attributes) = attributes.as_object_mut() {
        attributes.retain(|_, value| !value.is_null());
    }
    let is_day = !weather.icon.ends_with('n');
    Ok(Observation {
        observed_at_us: answer.dt.saturating_mul(1_000_000),
        condition: condition(weather.id, is_day).into(),
        attributes: attributes.to_string().into(),
    })
}

/// Its condition codes (<https://openweathermap.org/weather-conditions>) in Home Assistant's words.
fn condition(id: u32, is_day: bool) -> &'static str {
    match id {
        200..=202 | 230..=232 => "lightning-rainy",
        210..=221 => "lightning",
        300..=321 | 500 | 501 | 520 | 521 | 531 => "rainy",
        502..=504 | 522 => "pouring",
        511 | 611..=616 => "snowy-rainy",
        600..=602 | 620..=622 => "snowy",
        701 | 711 | 721 | 741 => "fog",
        771 => "windy",
        800 if is_day => "sunny",
        800 => "clear-night",
        801 | 802 => "partlycloudy",
        803 | 804 => "cloudy",
        _ => "exceptional",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The example of the documentation.
    const DOCUMENTED: &str = r#"{"coord":{"lon":7.367,"lat":45.133},
      "weather":[{"id":501,"main":"Rain","description":"moderate rain","icon":"10d"}],"base":"stations",
      "main":{"temp":284.2,"feels_like":282.93,"temp_min":283.06,"temp_max":286.82,"pressure":1021,
        "humidity":60,"sea_level":1021,"grnd_level":910},
      "visibility":10000,"wind":{"speed":4.09,"deg":121,"gust":3.47},"rain":{"1h":2.73},"clouds":{"all":83},
      "dt":1726660758,"sys":{"type":1,"id":6736,"country":"IT","sunrise":1726636384,"sunset":1726680975},
      "timezone":7200,"id":3165523,"name":"Province of Turin","cod":200}"#;

    #[test]
    fn the_question_is_as_documented() {
        let base = ADDRESS.parse().unwrap();
        assert_eq!(
            request(&base, 45.13, 7.37, Some("secret")).as_str(),
            "https://api.openweathermap.org/data/2.5/weather?lat=45.13&lon=7.37&units=metric&appid=secret"
        );
    }

    #[test]
    fn the_documented_answer_is_an_observation() {
        let observation = observation(DOCUMENTED.as_bytes()).unwrap();
        assert_eq!(observation.observed_at_us, 1_726_660_758_000_000);
        assert_eq!(observation.condition, "rainy");
        let attributes: Value = serde_json::from_str(&observation.attributes).unwrap();
        assert_eq!(attributes["temperature"], 284.2);
        assert_eq!(attributes["humidity"], 60.0);
        assert_eq!(attributes["description"], "moderate rain");
        assert_eq!(attributes["visibility"], 10_000.0);
    }

    #[test]
    fn what_is_no_weather_is_no_observation() {
        for answer in [
            "",
            "{}",
            r#"{"cod":401,"message":"Invalid API key"}"#,
            r#"{"dt":1,"weather":[]}"#,
        ] {
            assert!(observation(answer.as_bytes()).is_err(), "{answer}");
        }
        let little = observation(br#"{"dt":1,"weather":[{"id":800,"icon":"01n"}]}"#).unwrap();
        assert_eq!(little.condition, "clear-night");
        assert!(!little.attributes.contains("humidity"), "{little:?}");
    }
}
