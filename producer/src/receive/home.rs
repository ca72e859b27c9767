//! The home facts that travel in batches: asked of Home Assistant at every connection, and the sky
//! over it followed in the stream. The states of the beginning come from those who read them anyway
//! ([`crate::receive::registry`]): in a big home they are megabytes.

use ha_batch::{HomeFacts, WeatherFacts};
use ha_event::{Attributes, Event, Scalar};
use ha_source::{ConnectionState, Requester};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;

/// The weather entity that counts where there are several; without it the first by name does.
const WEATHER_OF_THE_HOME: &str = "weather.home";

/// Longer attributes (forecasts, attributions) are none of an observation, and would travel in
/// every batch.
const ATTRIBUTE_BYTES_MAX: usize = 64;

/// The part of `get_config` that is of use.
#[derive(Deserialize)]
struct HomeConfig {
    time_zone: Option<String>,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

/// The part of a state in `get_states` that is of use.
#[derive(Deserialize)]
struct CurrentState<'a> {
    #[serde(borrow)]
    entity_id: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
    #[serde(borrow)]
    last_updated: Cow<'a, str>,
}

/// What is known of the home, written by whoever learns something.
#[derive(Debug, Clone)]
pub struct Home {
    known: Arc<watch::Sender<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    facts: Option<HomeFacts<'static>>,
    /// The entity that the weather is of.
    weather_entity: String,
}

/// An observation of one weather entity.
struct Observed<'a> {
    entity_id: &'a str,
    state: &'a str,
    attributes: &'a str,
    observed_at_us: i64,
}

impl Home {
    /// Nothing is known yet.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            known: Arc::new(watch::Sender::new(Known::default())),
        }
    }

    /// The facts for the next batch.
    #[must_use]
    pub fn facts(&self) -> Option<HomeFacts<'static>> {
        self.known.borrow().facts.clone()
    }

    /// An event of this entity came by; those of the sky are remembered.
    pub fn saw(&self, entity_id: &str, json: &[u8]) {
        if !is_of_the_sky(entity_id) {
            return;
        }
        let Ok(Event::StateChanged(event)) = ha_event::parse(json) else {
            return;
        };
        let Some(new) = &event.new_state else { return };
        let Some(at) = new.last_updated else { return };
        self.known.send_modify(|known| {
            known.observe(&Observed {
                entity_id,
                state: &new.state,
                attributes: new.attributes.json(),
                observed_at_us: at.0,
            });
        });
    }

    fn configured(&self, config: HomeConfig) {
        self.known.send_modify(|known| {
            let facts = known.facts.get_or_insert_default();
            facts.time_zone = config.time_zone.map(Into::into);
            facts.latitude = config.latitude;
            facts.longitude = config.longitude;
        });
    }

    /// The answer to `get_states`: what the sky is like now. It may say nothing for an hour.
    ///
    /// # Errors
    /// JSON of another shape.
    pub fn states(&self, json: &[u8]) -> Result<(), serde_json::Error> {
        let states: Vec<CurrentState<'_>> = serde_json::from_slice(json)?;
        self.known.send_modify(|known| {
            for state in states
                .iter()
                .filter(|state| is_of_the_sky(&state.entity_id))
            {
                let Ok(at) = ha_event::UtcMicros::parse(&state.last_updated) else {
                    continue;
                };
                known.observe(&Observed {
                    entity_id: &state.entity_id,
                    state: &state.state,
                    attributes: state.attributes.map_or("", RawValue::get),
                    observed_at_us: at.0,
                });
            }
        });
        Ok(())
    }
}

fn is_of_the_sky(entity_id: &str) -> bool {
    entity_id.starts_with("weather.") || entity_id == "sun.sun"
}

impl Known {
    /// Takes an observation of the entity that counts, unless a newer one is known.
    fn observe(&mut self, observed: &Observed<'_>) {
        let facts = self.facts.get_or_insert_default();
        if observed.entity_id == "sun.sun" {
            facts.sun = Some(observed.state.to_owned().into());
            return;
        }
        let rank = |entity_id: &str| (entity_id != WEATHER_OF_THE_HOME, entity_id.to_owned());
        if let Some(weather) = &facts.weather {
            let is_same = self.weather_entity == observed.entity_id;
            let is_older = weather.observed_at_us > observed.observed_at_us;
            let counts_less = rank(observed.entity_id) > rank(&self.weather_entity);
            if counts_less || is_same && is_older {
                return;
            }
        }
        self.weather_entity = observed.entity_id.to_owned();
        facts.weather = Some(WeatherFacts {
            observed_at_us: observed.observed_at_us,
            condition: observed.state.to_owned().into(),
            attributes: measures(observed.attributes).into(),
        });
    }
}

/// The short attributes, as a JSON object.
fn measures(attributes: &str) -> String {
    let mut kept = String::from("{");
    for (name, value) in Attributes::of_text(attributes).entries() {
        let is_measure = matches!(Scalar::parse(value), Scalar::Number(_) | Scalar::Text(_));
        if !is_measure || name.len() + value.len() > ATTRIBUTE_BYTES_MAX {
            continue;
        }
        if kept.len() > 1 {
            kept.push(',');
        }
        kept.push_str(&serde_json::Value::from(name).to_string());
        kept.push(':');
        kept.push_str(value);
    }
    kept.push('}');
    kept
}

/// Keeps the facts fresh for as long as the process runs.
pub async fn follow(requester: Requester, mut state: watch::Receiver<ConnectionState>, home: Home) {
    let mut asked: Option<SystemTime> = None;
    loop {
        let since = match &*state.borrow_and_update() {
            ConnectionState::Connected { since, .. } => Some(*since),
            _ => None,
        };
        if since.is_some() && since != asked {
            asked = since;
            match requester.request("get_config", serde_json::json!({})).await {
                Ok(json) => match serde_json::from_slice::<HomeConfig>(&json) {
                    Ok(config) => home.configured(config),
                    Err(error) => tracing::warn!(%error, "get_config could not be read"),
                },
                Err(error) => tracing::warn!(%error, "get_config was not answered"),
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(entity_id: &str, state: &str, second: u32, attributes: &str) -> String {
        let time = format!("1970-01-01T00:00:{second:02}+00:00");
        format!(
            r#"{{"entity_id":"{entity_id}","state":"{state}","attributes":{attributes},"last_changed":"{time}","last_updated":"{time}"}}"#
        )
    }

    fn saw(home: &Home, entity_id: &str, new: &str) {
        let event = format!(
            r#"{{"event_type":"state_changed","data":{{"entity_id":"{entity_id}","old_state":null,"new_state":{new}}},"time_fired":"1970-01-01T00:00:09+00:00"}}"#
        );
        home.saw(entity_id, event.as_bytes());
    }

    fn weather(home: &Home) -> (String, i64, String) {
        let weather = home.facts().unwrap().weather.unwrap();
        let (condition, attributes) = (weather.condition, weather.attributes);
        (
            condition.into_owned(),
            weather.observed_at_us / 1_000_000,
            attributes.into_owned(),
        )
    }

    #[test]
    fn the_newest_observation_of_the_entity_that_counts_travels() {
        let home = Home::unknown();
        assert_eq!(home.facts(), None);
        saw(&home, "weather.b", &state("weather.b", "fog", 1, "{}"));
        saw(&home, "light.a", &state("light.a", "on", 1, "{}"));
        assert_eq!(weather(&home), ("fog".into(), 1, "{}".into()));
        saw(&home, "weather.b", &state("weather.b", "sunny", 3, "{}"));
        // Asked before, and answered after.
        let states = format!(
            "[{},{},{}]",
            state("weather.b", "fog", 1, "{}"),
            state("sun.sun", "below_horizon", 1, "{}"),
            state("weather.c", "rainy", 5, "{}"),
        );
        home.states(states.as_bytes()).unwrap();
        assert_eq!(weather(&home).0, "sunny");
        assert_eq!(home.facts().unwrap().sun.as_deref(), Some("below_horizon"));
        let attributes = r#"{"temperature":3.5,"temperature_unit":"°C","forecast":[{"t":1}],"attribution":"Weather data delivered by the Norwegian Meteorological Institute","none":null}"#;
        saw(
            &home,
            "weather.home",
            &state("weather.home", "snowy", 2, attributes),
        );
        let kept = r#"{"temperature":3.5,"temperature_unit":"°C"}"#;
        assert_eq!(weather(&home), ("snowy".into(), 2, kept.into()));
        saw(&home, "weather.a", &state("weather.a", "fog", 9, "{}"));
        assert_eq!(weather(&home).0, "snowy");
        home.configured(HomeConfig {
            time_zone: Some("UTC".into()),
            latitude: Some(1.0),
            longitude: None,
        });
        assert_eq!(weather(&home).0, "snowy");
        assert_eq!(home.facts().unwrap().latitude, Some(1.0));
    }
}
