//! The parts that the settings describe.

use crate::{
    FieldSettings, InfluxSettings, Secret, SinkChoice, TlsSettings, WeatherProvider,
    WeatherSettings, WriteBatchSettings,
};
use ha_broker::{Broker, BrokerError, BrokerOptions, TlsFiles};
use ha_enrich::{Depth, Options, Schema};
use ha_pipeline::PipelineOptions;
use ha_sink::{AttributeFields, InfluxDb, InfluxDbOptions, Null, Sink, Sqlite, SqliteOptions};
use ha_weather::{Provider, Weather, WeatherOptions};
use std::sync::Arc;
use url::Url;

/// A part that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// InfluxDB's settings.
    #[error(transparent)]
    InfluxDb(#[from] ha_sink::OptionsError),
    /// The embedded database.
    #[error(transparent)]
    Sqlite(#[from] ha_sink::SqliteError),
    /// The weather provider.
    #[error(transparent)]
    Weather(#[from] ha_weather::WeatherError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl SinkChoice {
    /// Opens the sink for points of this schema.
    ///
    /// # Errors
    /// [`OpenError`]: settings that InfluxDB's client cannot use, or a file that cannot be opened.
    pub async fn open(&self, schema: &Schema, tls: &TlsSettings) -> Result<Sink, OpenError> {
        Ok(match self {
            SinkChoice::Influx(settings) => {
                let options = InfluxDbOptions {
                    attribute_fields: match schema {
                        Schema::Native => AttributeFields::Prefixed,
                        Schema::HomeAssistant(_) => AttributeFields::Unprefixed,
                    },
                    ..influxdb(settings, tls)
                };
                Sink::InfluxDb(InfluxDb::new(options)?)
            }
            SinkChoice::Sqlite(settings) => Sink::Sqlite(
                Sqlite::open(SqliteOptions {
                    retention: settings.retention,
                    ..SqliteOptions::new(&settings.path)
                })
                .await?,
            ),
            SinkChoice::Null => Sink::Null(Null::default()),
        })
    }
}

fn influxdb(settings: &InfluxSettings, tls: &TlsSettings) -> InfluxDbOptions {
    let revealed = |secret: &Option<Secret>| secret.as_ref().map(|s| s.reveal().to_owned());
    InfluxDbOptions {
        token: revealed(&settings.token),
        org: Some(settings.org.clone()),
        username: settings.username.clone(),
        password: revealed(&settings.password),
        tls: Some(Arc::clone(&tls.client)),
        ..InfluxDbOptions::new(
            settings.url.as_str(),
            settings.version,
            settings.bucket.as_str(),
        )
    }
}

/// Prepares the broker's connections; connects to nothing.
///
/// # Errors
/// [`OpenError::Broker`]
pub fn broker(
    url: Url,
    connection_name: String,
    tls: &TlsSettings,
) -> Result<Arc<Broker>, OpenError> {
    let tls = TlsFiles {
        ca_pem: tls.ca_pem.clone(),
        identity_pem: tls.identity_pem.clone(),
    };
    Ok(Arc::new(Broker::new(BrokerOptions {
        url,
        connection_name,
        tls,
    })?))
}

impl FieldSettings {
    /// What enrichment does; without weather, see [`WeatherSettings::fields`].
    #[must_use]
    pub fn enrichment(self, depth: Depth) -> Options {
        Options {
            schema: self.schema,
            depth,
            attributes: self.attributes,
            exclude_attributes: self.exclude_attributes,
            context_fields: self.context,
            normalize_units: self.normalize_units,
            weather: false,
            ..Options::default()
        }
    }
}

impl WeatherSettings {
    /// The options with or without fields of weather. What the home itself observes travels with its
    /// events and is written only where it is asked for.
    #[must_use]
    pub fn fields(&self, options: Options) -> Options {
        Options {
            // Home Assistant's own schema has no place for it.
            weather: self.provider != WeatherProvider::None && options.schema == Schema::Native,
            ..options
        }
    }

    /// The weather provider, which is asked at once where a place is set, so that the first event
    /// finds the weather known.
    ///
    /// # Errors
    /// [`OpenError::Weather`]
    pub fn open(&self, tls: &TlsSettings) -> Result<Option<Weather>, OpenError> {
        let weather = self.provider(tls)?;
        let _ = weather.as_ref().map(|weather| weather.observed(None));
        Ok(weather)
    }

    /// The weather provider, not asked yet; `None` where the weather comes from the home itself, or
    /// is not wanted.
    ///
    /// # Errors
    /// [`OpenError::Weather`]
    pub fn provider(&self, tls: &TlsSettings) -> Result<Option<Weather>, OpenError> {
        let provider = match self.provider {
            WeatherProvider::None | WeatherProvider::HomeAssistant => return Ok(None),
            WeatherProvider::OpenMeteo => Provider::OpenMeteo,
            WeatherProvider::OpenWeatherMap => Provider::OpenWeatherMap,
        };
        let weather = Weather::new(WeatherOptions {
            provider,
            key: self.api_key.as_ref().map(|key| key.reveal().to_owned()),
            url: self.url.clone(),
            place: self.place.map(|place| (place.latitude, place.longitude)),
            tls: Some(Arc::clone(&tls.client)),
        })?;
        Ok(Some(weather))
    }
}

impl WriteBatchSettings {
    /// Limits of the pipeline.
    #[must_use]
    pub fn pipeline(&self) -> PipelineOptions {
        PipelineOptions {
            batch_points_max: self.points_max,
            batch_age_max: self.age_max,
            writes_in_flight_max: self.writes_in_flight_max,
        }
    }
}
