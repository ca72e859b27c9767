//! Where the weather comes from that is written beside events.

use crate::home_assistant::url;
use crate::secret::secret;
use crate::{Problems, Secret};
use clap::Args;
use url::Url;

/// Weather beside events.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Weather")]
pub struct WeatherArgs {
    /// none; home-assistant (the home's own weather entity); open-meteo or openweathermap (asked
    /// over the internet, for the home's coordinates)
    #[arg(
        long,
        env = "WEATHER_PROVIDER",
        default_value = "none",
        value_name = "none|home-assistant|open-meteo|openweathermap"
    )]
    pub weather_provider: String,
    /// Key of the provider's API: needed by openweathermap; open-meteo takes one of its customers'
    #[arg(
        long,
        env = "WEATHER_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub weather_api_key: Option<String>,
    /// File that holds the key
    #[arg(long, env = "WEATHER_API_KEY_FILE", value_name = "FILE")]
    pub weather_api_key_file: Option<String>,
    /// Base URL of the provider's API; unset: its public address
    #[arg(long, env = "WEATHER_URL", value_name = "URL")]
    pub weather_url: Option<String>,
    /// Degrees north of the place whose weather is asked for; unset: the home's
    #[arg(
        long,
        env = "WEATHER_LATITUDE",
        allow_hyphen_values = true,
        value_name = "DEGREES"
    )]
    pub weather_latitude: Option<String>,
    /// Degrees east of the place
    #[arg(
        long,
        env = "WEATHER_LONGITUDE",
        allow_hyphen_values = true,
        value_name = "DEGREES"
    )]
    pub weather_longitude: Option<String>,
}

/// `WEATHER_PROVIDER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeatherProvider {
    /// No weather is written.
    None,
    /// What travels with the events from the home itself.
    HomeAssistant,
    /// <https://open-meteo.com>
    OpenMeteo,
    /// <https://openweathermap.org>
    OpenWeatherMap,
}

/// A place on earth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
}

/// Weather, checked.
#[derive(Debug, Clone)]
pub struct WeatherSettings {
    /// Whom to ask.
    pub provider: WeatherProvider,
    /// The key of its API.
    pub api_key: Option<Secret>,
    /// Its address, where it is not the public one.
    pub url: Option<Url>,
    /// The place, where it is not the home's own.
    pub place: Option<Place>,
}

impl WeatherSettings {
    /// No weather.
    #[must_use]
    pub fn none() -> Self {
        Self {
            provider: WeatherProvider::None,
            api_key: None,
            url: None,
            place: None,
        }
    }
}

impl WeatherArgs {
    /// Checks the settings.
    pub fn resolve(&self, problems: &mut Problems) -> WeatherSettings {
        let provider = match self.weather_provider.trim() {
            "none" => WeatherProvider::None,
            "home-assistant" => WeatherProvider::HomeAssistant,
            "open-meteo" => WeatherProvider::OpenMeteo,
            "openweathermap" => WeatherProvider::OpenWeatherMap,
            other => {
                let valid = "none, home-assistant, open-meteo or openweathermap";
                problems.bad("WEATHER_PROVIDER", other, valid);
                WeatherProvider::None
            }
        };
        let api_key = secret(
            problems,
            "WEATHER_API_KEY",
            self.weather_api_key.as_ref(),
            self.weather_api_key_file.as_ref(),
        );
        if provider == WeatherProvider::OpenWeatherMap && api_key.is_none() {
            problems.missing(
                "WEATHER_API_KEY",
                "openweathermap answers nobody without a key; make one at openweathermap.org, or \
                 set WEATHER_PROVIDER to open-meteo, which needs none",
            );
        }
        let url = self.weather_url.as_ref().and_then(|text| {
            let schemes = &["http", "https"];
            url(
                problems,
                "WEATHER_URL",
                text,
                schemes,
                "https://api.open-meteo.com",
            )
        });
        WeatherSettings {
            provider,
            api_key,
            url,
            place: self.place(problems),
        }
    }

    fn place(&self, problems: &mut Problems) -> Option<Place> {
        let (latitude, longitude) = match (&self.weather_latitude, &self.weather_longitude) {
            (Some(latitude), Some(longitude)) => (latitude, longitude),
            (None, None) => return None,
            _ => {
                problems.other(
                    "WEATHER_LATITUDE and WEATHER_LONGITUDE: one of them is set; set both, or \
                     neither for the home's own",
                );
                return None;
            }
        };
        let mut degrees = |name: &str, text: &str, most: f64| match text.trim().parse::<f64>() {
            Ok(degrees) if degrees.abs() <= most => degrees,
            _ => {
                let valid = format_args!("degrees from -{most} to {most} such as 52.52");
                problems.bad(name, text, valid);
                0.0
            }
        };
        Some(Place {
            latitude: degrees("WEATHER_LATITUDE", latitude, 90.0),
            longitude: degrees("WEATHER_LONGITUDE", longitude, 180.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        weather: WeatherArgs,
    }

    fn resolve(flags: &[&str]) -> (WeatherSettings, String) {
        let mut problems = Problems::default();
        let cli = Cli::parse_from(["test"].iter().chain(flags));
        let settings = cli.weather.resolve(&mut problems);
        let said = if problems.is_empty() {
            String::new()
        } else {
            problems.to_string()
        };
        (settings, said)
    }

    #[test]
    fn a_provider_has_what_it_needs_or_it_is_said() {
        let (settings, said) = resolve(&[]);
        assert_eq!(
            (settings.provider, said.as_str()),
            (WeatherProvider::None, "")
        );
        let (settings, said) = resolve(&[
            "--weather-provider=open-meteo",
            "--weather-latitude=-33.9",
            "--weather-longitude",
            "-70",
        ]);
        assert_eq!(said, "");
        assert_eq!(
            settings.place,
            Some(Place {
                latitude: -33.9,
                longitude: -70.0
            })
        );
        for (flags, words) in [
            (
                &["--weather-provider=openweathermap"][..],
                "WEATHER_API_KEY",
            ),
            (&["--weather-provider=dwd"], "home-assistant, open-meteo"),
            (&["--weather-latitude=5"], "set both"),
            (
                &["--weather-latitude=91", "--weather-longitude=181"],
                "2 settings must change",
            ),
            (
                &["--weather-latitude=nan", "--weather-longitude=0"],
                "degrees",
            ),
            (&["--weather-url=ftp://x"], "WEATHER_URL"),
        ] {
            let (_, said) = resolve(flags);
            assert!(said.contains(words), "{flags:?}: {said}");
        }
    }
}
