//! Weather by place, asked of a provider over the internet, in the background.
//!
//! Enrichment asks [`Weather::observed`], which answers at once from memory and never
//! waits: what is missing or growing old is fetched by a task of its own, one a place at a time,
//! within limits a minute and a day, with a timeout. A failure is remembered for a while and is a
//! miss: nothing is ever written in place of weather that is not known.
//!
//! An answer becomes [`WeatherFacts`], the same that travel from Home Assistant's own weather
//! entity, in its vocabulary (<https://www.home-assistant.io/integrations/weather/>): the stages
//! know one kind of weather only.

mod cache;
mod fetch;
mod open_meteo;
mod open_weather_map;
mod url;
mod weather;

pub use cache::Freshness;
pub use fetch::FetchError;
pub use weather::{Observed, Provider, Weather, WeatherError, WeatherOptions, describe};

use ha_batch::WeatherFacts;

/// An observation, as every provider gives it.
type Observation = WeatherFacts<'static>;
