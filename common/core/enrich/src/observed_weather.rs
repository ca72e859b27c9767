//! Weather that was observed, and what of it stands beside events.

use crate::units::celsius;
use ha_batch::WeatherFacts;
use ha_event::{Attributes, Scalar};
use std::cell::OnceCell;

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

    /// Reads them the first time.
    pub(crate) fn measures(&self) -> &Measures {
        self.measures.get_or_init(|| read(self.facts))
    }
}

/// The measures that stand beside events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measures {
    pub celsius: Option<f64>,
    /// Per cent.
    pub humidity: Option<f64>,
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
