//! The cache over all places, and the tasks that ask.

use crate::cache::{Entry, Freshness};
use crate::fetch::{self, FetchError};
use crate::{Observation, open_meteo, open_weather_map};
use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use metrics::Counter;
use moka::sync::Cache;
use reqwest::Client;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// Places known at one time: homes, in practice.
const PLACES_MAX: u64 = 1_000;

/// A place is forgotten when it was not asked for during this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(6 * 3_600);

/// Questions of this process; one home needs six an hour.
const PER_MINUTE_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);
const PER_DAY_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
const DAY: Duration = Duration::from_secs(86_400);

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// <https://open-meteo.com>
    OpenMeteo,
    /// <https://openweathermap.org>
    OpenWeatherMap,
}

impl Provider {
    /// The setting's word, which is also the tag of its observations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenMeteo => "open-meteo",
            Self::OpenWeatherMap => "openweathermap",
        }
    }

    fn address(self, has_key: bool) -> &'static str {
        match self {
            Self::OpenMeteo if has_key => open_meteo::ADDRESS_OF_CUSTOMERS,
            Self::OpenMeteo => open_meteo::ADDRESS,
            Self::OpenWeatherMap => open_weather_map::ADDRESS,
        }
    }
}

/// How to ask.
#[derive(Clone)]
pub struct WeatherOptions {
    /// Whom.
    pub provider: Provider,
    /// The key of its API.
    pub key: Option<String>,
    /// Its address, where it is not the public one.
    pub url: Option<Url>,
    /// Degrees north and east; unset: those of each home.
    pub place: Option<(f64, f64)>,
    /// TLS, with the certificates of the settings.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WeatherError {
    /// TLS or address.
    #[error("the weather provider's client: {0}")]
    Client(String),
}

/// What was observed lately at a place.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The newest first; empty where nothing is known.
    pub observations: Arc<[Observation]>,
    /// How good it is.
    pub freshness: Freshness,
}

/// Weather by place.
#[derive(Clone)]
pub struct Weather {
    shared: Arc<Shared>,
}

struct Shared {
    provider: Provider,
    key: Option<String>,
    base: Url,
    place: Option<(f64, f64)>,
    client: Client,
    places: Cache<Place, Arc<Mutex<Entry>>>,
    per_minute: Limit,
    per_day: Limit,
    requests: Requests,
}

type Limit = RateLimiter<NotKeyed, InMemoryState, DefaultClock>;

/// Hundredths of a degree, about a kilometre: homes in one place share its weather, and nobody is
/// told the house number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    latitude: i32,
    longitude: i32,
}

struct Requests {
    answered: Counter,
    failed: Counter,
    timed_out: Counter,
    refused: Counter,
    limited: Counter,
}

/// Registers names and help texts, once a process.
pub fn describe() {
    metrics::describe_counter!(
        "ha_ingestor_weather_requests_total",
        "Questions to the weather provider, by outcome"
    );
}

impl std::fmt::Debug for Weather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weather")
            .field("provider", &self.shared.provider)
            .finish_non_exhaustive()
    }
}

impl Weather {
    /// Knows nothing yet, and asks nobody before it is asked.
    ///
    /// # Errors
    /// [`WeatherError`]
    pub fn new(options: WeatherOptions) -> Result<Self, WeatherError> {
        let error = |error: &dyn std::fmt::Display| WeatherError::Client(error.to_string());
        let base = match options.url {
            Some(url) => url,
            None => {
                let address = options.provider.address(options.key.is_some());
                address.parse().map_err(|e| error(&e))?
            }
        };
        let mut builder = Client::builder()
            .timeout(fetch::TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        match &options.tls {
            Some(tls) => builder = builder.tls_backend_preconfigured(tls.as_ref().clone()),
            // Without a provider of cryptography reqwest panics even for http.
            None => drop(rustls::crypto::ring::default_provider().install_default()),
        }
        let per_day = Quota::with_period(DAY / PER_DAY_MAX.get())
            .unwrap_or(Quota::per_hour(NonZeroU32::MIN))
            .allow_burst(PER_DAY_MAX);
        let shared = Shared {
            provider: options.provider,
            key: options.key,
            base,
            place: options.place,
            client: builder.build().map_err(|e| error(&e.without_url()))?,
            places: Cache::builder()
                .max_capacity(PLACES_MAX)
                .time_to_idle(FORGOTTEN_AFTER)
                .build(),
            per_minute: RateLimiter::direct(Quota::per_minute(PER_MINUTE_MAX)),
            per_day: RateLimiter::direct(per_day),
            requests: Requests::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Whom it asks.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.shared.provider
    }

    /// Its address, without a password.
    #[must_use]
    pub fn address(&self) -> String {
        let mut url = self.shared.base.clone();
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// Asks once and waits for the answer, past memory and limits: for a person who wants to know
    /// whether the provider answers. The place is that of the settings, or else this one.
    ///
    /// # Errors
    /// [`FetchError`]
    pub async fn ask_once(&self, place: (f64, f64)) -> Result<Observation, FetchError> {
        let place = Place::of(self.shared.place.unwrap_or(place));
        let place = place.ok_or_else(|| FetchError::NoAnswer("there is no such place".into()))?;
        self.shared.fetch(place).await
    }

    /// What is known of the place of the settings, or else of the home's; none if neither is known.
    /// Answers at once; what must be fetched is fetched by a task. Must be called on a tokio runtime.
    #[must_use]
    pub fn observed(&self, home: Option<(f64, f64)>) -> Option<Observed> {
        let place = Place::of(self.shared.place.or(home)?)?;
        let entry = self.shared.places.get_with(place, Arc::default);
        let look = lock(&entry).look(Instant::now());
        if look.must_ask {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { shared.ask(place, &entry).await });
        }
        Some(Observed {
            observations: look.observations,
            freshness: look.freshness,
        })
    }
}

impl Shared {
    async fn ask(&self, place: Place, entry: &Mutex<Entry>) {
        if self.per_minute.check().is_err() || self.per_day.check().is_err() {
            self.requests.limited.increment(1);
            lock(entry).failed(None, Instant::now());
            return;
        }
        let asked = self.fetch(place).await;
        self.requests.count(&asked);
        let mut entry = lock(entry);
        match asked {
            Ok(observation) => entry.answered(observation, Instant::now()),
            Err(error) => {
                let provider = self.provider.as_str();
                tracing::warn!(%error, provider, "no weather; events are stored without");
                entry.failed(error.retry_after(), Instant::now());
            }
        }
    }

    async fn fetch(&self, place: Place) -> Result<Observation, FetchError> {
        let (latitude, longitude) = place.degrees();
        let key = self.key.as_deref();
        match self.provider {
            Provider::OpenMeteo => {
                let request = open_meteo::request(&self.base, latitude, longitude, key);
                open_meteo::observation(&fetch::get(&self.client, request).await?)
            }
            Provider::OpenWeatherMap => {
                let request = open_weather_map::request(&self.base, latitude, longitude, key);
                open_weather_map::observation(&fetch::get(&self.client, request).await?)
            }
        }
    }
}

impl Place {
    fn of((latitude, longitude): (f64, f64)) -> Option<Self> {
        let hundredths = |degrees: f64, most: f64| {
            (degrees.abs() <= most).then(|| (degrees * 100.0).round() as i32)
        };
        Some(Self {
            latitude: hundredths(latitude, 90.0)?,
            longitude: hundredths(longitude, 180.0)?,
        })
    }

    fn degrees(self) -> (f64, f64) {
        (
            f64::from(self.latitude) / 100.0,
            f64::from(self.longitude) / 100.0,
        )
    }
}

impl Requests {
    fn new() -> Self {
        let made = |outcome| {
            let counter =
                metrics::counter!("ha_ingestor_weather_requests_total", "outcome" => outcome);
            counter.increment(0);
            counter
        };
        Self {
            answered: made("answered"),
            failed: made("unreadable"),
            timed_out: made("no_answer"),
            refused: made("refused"),
            limited: made("limited"),
        }
    }

    fn count(&self, asked: &Result<Observation, FetchError>) {
        match asked {
            Ok(_) => &self.answered,
            Err(FetchError::NoAnswer(_)) => &self.timed_out,
            Err(FetchError::Refused { .. }) => &self.refused,
            Err(FetchError::Unreadable(_)) => &self.failed,
        }
        .increment(1);
    }
}

fn lock(entry: &Mutex<Entry>) -> MutexGuard<'_, Entry> {
    entry.lock().unwrap_or_else(PoisonError::into_inner)
}
