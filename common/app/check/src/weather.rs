//! Whether the weather provider answers.

use super::Doctor;
use ha_settings::{TlsSettings, WeatherProvider, WeatherSettings};
use ha_weather::FetchError;

/// Greenwich. Asked for where the settings name no place: the home's own is known only to those
/// who get its events, and whether the provider answers does not depend on it.
const ANY_PLACE: (f64, f64) = (51.48, 0.0);

impl Doctor {
    /// Asks the weather provider once; says nothing where no weather is wanted.
    pub async fn weather(&mut self, settings: &WeatherSettings, tls: &TlsSettings) {
        if settings.provider == WeatherProvider::HomeAssistant {
            return self.ok("weather: the home's own, which travels with its events");
        }
        let weather = match settings.provider(tls) {
            Ok(Some(weather)) => weather,
            Ok(None) => return,
            Err(error) => {
                return self.fail(format_args!("weather: {error}"), "correct WEATHER_URL");
            }
        };
        let provider = weather.provider().as_str();
        let what = format!("weather: {provider} at {}", weather.address());
        match weather.ask_once(ANY_PLACE).await {
            Ok(observed) => {
                let of = match settings.place {
                    Some(_) => "of the place in the settings",
                    None => "of Greenwich (events are asked for at their home's own place)",
                };
                self.ok(format_args!("{what}: {} {of}", observed.condition));
            }
            Err(error) => self.fail(format_args!("{what}: {error}"), remedy(&error)),
        }
    }
}

fn remedy(error: &FetchError) -> &'static str {
    match error {
        FetchError::NoAnswer(_) => {
            "let this machine reach it, or correct WEATHER_URL; until then events are stored \
             without weather"
        }
        FetchError::Refused {
            status: 401 | 403, ..
        } => "set WEATHER_API_KEY to a key that the provider takes",
        FetchError::Refused { status: 429, .. } => {
            "wait: it was asked too often from this address or with this key"
        }
        FetchError::Refused { .. } | FetchError::Unreadable(_) => {
            "correct WEATHER_URL, if that is set; else the provider is in trouble, and events are \
             stored without weather"
        }
    }
}
