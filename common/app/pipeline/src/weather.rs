//! Which weather an event is written with, and which observations become points of their own.

use ha_batch::{Batch, Envelope, Origin, WeatherFacts};
use ha_enrich::{ObservedWeather, Options, WeatherOutcome};
use ha_point::Point;
use ha_weather::{Freshness, Observed, Weather};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Homes whose last observation is remembered; more only write an observation again.
const HOMES_MAX: usize = 1_000;

/// What became of the weather of an event; the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Written.
    Hit,
    /// Written, while a newer observation is being asked for.
    Stale,
    /// Nothing is known.
    Miss,
    /// The provider fails.
    Failing,
    /// What is known is not of the hour before the event.
    OtherTime,
    /// The observation says nothing.
    Empty,
    /// The event may have been processed before, or is not live: see [`crate::AckHandle`].
    Withheld,
}

impl Lookup {
    pub const ALL: [Self; 7] = [
        Self::Hit,
        Self::Stale,
        Self::Miss,
        Self::Failing,
        Self::OtherTime,
        Self::Empty,
        Self::Withheld,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Failing => "failing",
            Self::OtherTime => "other_time",
            Self::Empty => "empty",
            Self::Withheld => "withheld",
        }
    }
}

/// Where the weather comes from.
#[derive(Debug, Default)]
pub(crate) struct WeatherStage {
    /// None: from the batches' own facts.
    pub provider: Option<Weather>,
    /// The last observation of each home that became a point.
    written: Mutex<HashMap<String, i64>>,
}

/// What one look brought.
pub(crate) struct Looked<'a> {
    stage: &'a WeatherStage,
    is_wanted: bool,
    is_first_pass: bool,
    from_home: &'a [WeatherFacts<'a>],
    /// From the provider; none where it was not asked.
    observed: Option<Observed>,
}

/// The weather over one batch.
pub(crate) struct Sky<'a> {
    looked: &'a Looked<'a>,
    from_home: Vec<ObservedWeather<'a>>,
    of_provider: Vec<ObservedWeather<'a>>,
    pub counts: [u64; Lookup::ALL.len()],
}

impl WeatherStage {
    /// Looks once a batch. Never waits.
    pub fn look<'a>(
        &'a self,
        batch: &'a Batch<'_>,
        is_first_pass: bool,
        options: &Options,
    ) -> Looked<'a> {
        let home = batch.home.as_ref();
        let is_live = || batch.envelopes.iter().any(is_live);
        let observed = match &self.provider {
            Some(provider) if options.weather && is_first_pass && is_live() => {
                provider.observed(home.and_then(|home| home.latitude.zip(home.longitude)))
            }
            _ => None,
        };
        Looked {
            stage: self,
            is_first_pass,
            is_wanted: options.weather,
            from_home: match home {
                Some(home) if options.weather && self.provider.is_none() => home.weather.as_slice(),
                _ => &[],
            },
            observed,
        }
    }
}

impl Looked<'_> {
    /// To enrich the batch's events under.
    pub fn sky(&self) -> Sky<'_> {
        let observed = self
            .observed
            .as_ref()
            .map(|observed| &*observed.observations);
        Sky {
            looked: self,
            from_home: self.from_home.iter().map(ObservedWeather::of).collect(),
            of_provider: observed
                .unwrap_or_default()
                .iter()
                .map(ObservedWeather::of)
                .collect(),
            counts: [0; Lookup::ALL.len()],
        }
    }
}

fn is_live(envelope: &Envelope<'_>) -> bool {
    envelope.origin == Origin::Live
}

impl<'a> Sky<'a> {
    /// What the event may be written with.
    pub fn for_event(&self, envelope: &Envelope<'_>) -> &[ObservedWeather<'a>] {
        if self.looked.observed.is_some() && is_live(envelope) {
            &self.of_provider
        } else {
            &self.from_home
        }
    }

    /// Counts what became of it.
    pub fn count(&mut self, outcome: WeatherOutcome, envelope: &Envelope<'_>) {
        let freshness = self
            .looked
            .observed
            .as_ref()
            .map(|observed| observed.freshness);
        let lookup = match outcome {
            WeatherOutcome::NotWanted => return,
            WeatherOutcome::Used if freshness == Some(Freshness::Stale) => Lookup::Stale,
            WeatherOutcome::Used => Lookup::Hit,
            WeatherOutcome::OtherTime => Lookup::OtherTime,
            WeatherOutcome::Empty => Lookup::Empty,
            WeatherOutcome::Missing if self.looked.stage.provider.is_none() => Lookup::Miss,
            WeatherOutcome::Missing if !is_live(envelope) || !self.looked.is_first_pass => {
                Lookup::Withheld
            }
            WeatherOutcome::Missing if freshness == Some(Freshness::Failing) => Lookup::Failing,
            WeatherOutcome::Missing => Lookup::Miss,
        };
        self.counts[lookup as usize] += 1;
    }

    /// The newest observation as a point of its own, once a home.
    pub fn new_observation<'f>(&'f self, batch: &'f Batch<'_>) -> Option<Point<'f>> {
        if !self.looked.is_wanted {
            return None;
        }
        let (provider, weather) = match (&self.looked.stage.provider, &self.looked.observed) {
            (Some(provider), Some(observed)) => {
                (provider.provider().as_str(), observed.observations.first()?)
            }
            (Some(_), None) => return None,
            (None, _) => ("home-assistant", self.looked.from_home.first()?),
        };
        let instance = batch.envelopes.first()?.instance.as_ref();
        let written = &self.looked.stage.written;
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.get(instance) == Some(&weather.observed_at_us) {
            return None;
        }
        if written.len() >= HOMES_MAX {
            written.clear();
        }
        written.insert(instance.to_owned(), weather.observed_at_us);
        ha_enrich::observation(instance, provider, weather)
    }
}
