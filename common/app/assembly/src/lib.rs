//! The parts that the producer and the worker both put together from their settings.

pub mod check;
mod letters;

use ha_broker::{Broker, BrokerError, BrokerOptions, TlsFiles};
use ha_enrich::{AttributePolicy, Depth, ExtraTag, Options, Schema};
use ha_pipeline::PipelineOptions;
use ha_settings::{
    AttributeChoice, BatchSettings, ExtraTagArgs, FieldSettings, InfluxSettings, InfluxVersion,
    Problems, Secret, SinkChoice, TlsSettings, WeatherProvider, WeatherSettings,
};
use ha_sink::{Api, AttributeFields, InfluxDb, InfluxDbOptions, Null, Sqlite, SqliteOptions};
use ha_weather::{Provider, Weather, WeatherOptions};
use std::sync::Arc;
use url::Url;

mod retention;
mod status;
mod traces;

pub use ha_frame::VERSION as FRAME_VERSION;
pub use ha_sink::Sink;
pub use letters::{BrokerLetters, LetterStore, SpoolLetters, letter_message, replay};
pub use retention::keep_retention;
pub use status::{
    follow_sink, hundredths, latency_status, latest_events_status, quality_status, queues_status,
    sink_status,
};
pub use traces::{reported, traces};

/// A part that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
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

/// Opens the sink for points of this schema.
///
/// # Errors
/// [`AssemblyError`]: settings that InfluxDB's client cannot use, or a file that cannot be opened.
pub async fn sink(
    choice: &SinkChoice,
    schema: &Schema,
    tls: &TlsSettings,
) -> Result<Sink, AssemblyError> {
    Ok(match choice {
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

fn influxdb(settings: &InfluxSettings, tls: &TlsSettings) -> InfluxDbOptions {
    let api = match settings.version {
        InfluxVersion::V1 => Api::V1,
        InfluxVersion::V2 => Api::V2,
    };
    let revealed = |secret: &Option<Secret>| secret.as_ref().map(|s| s.reveal().to_owned());
    InfluxDbOptions {
        token: revealed(&settings.token),
        org: Some(settings.org.clone()),
        username: settings.username.clone(),
        password: revealed(&settings.password),
        tls: Some(Arc::clone(&tls.client)),
        ..InfluxDbOptions::new(settings.url.as_str(), api, settings.bucket.as_str())
    }
}

/// Prepares the broker's connections; connects to nothing.
///
/// # Errors
/// [`AssemblyError::Broker`]
pub fn broker(
    url: Url,
    connection_name: String,
    tls: &TlsSettings,
) -> Result<Arc<Broker>, AssemblyError> {
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

/// What enrichment does; without weather, see [`weather_fields`].
#[must_use]
pub fn enrichment(depth: Depth, fields: FieldSettings) -> Options {
    let attributes = match fields.attributes {
        AttributeChoice::Changed => AttributePolicy::Changed,
        AttributeChoice::All => AttributePolicy::All,
        AttributeChoice::None => AttributePolicy::None,
    };
    Options {
        schema: fields.schema,
        depth,
        attributes,
        exclude_attributes: fields.exclude_attributes,
        context_fields: fields.context,
        normalize_units: fields.normalize_units,
        weather: false,
        ..Options::default()
    }
}

/// Whether fields of weather are written. What the home itself observes travels with its events
/// whoever processes them, and is written only where it is asked for.
#[must_use]
pub fn weather_fields(options: Options, weather: &WeatherSettings) -> Options {
    Options {
        // Home Assistant's own schema has no place for it.
        weather: weather.provider != WeatherProvider::None && options.schema == Schema::Native,
        ..options
    }
}

/// The weather provider; none where the weather comes from the home itself, or is not wanted.
///
/// # Errors
/// [`AssemblyError::Weather`]
pub fn weather(
    settings: &WeatherSettings,
    tls: &TlsSettings,
) -> Result<Option<Weather>, AssemblyError> {
    let weather = weather_unasked(settings, tls)?;
    // With a place in the settings the first event finds the weather known.
    let _ = weather.as_ref().map(|weather| weather.observed(None));
    Ok(weather)
}

fn weather_unasked(
    settings: &WeatherSettings,
    tls: &TlsSettings,
) -> Result<Option<Weather>, AssemblyError> {
    let provider = match settings.provider {
        WeatherProvider::None | WeatherProvider::HomeAssistant => return Ok(None),
        WeatherProvider::OpenMeteo => Provider::OpenMeteo,
        WeatherProvider::OpenWeatherMap => Provider::OpenWeatherMap,
    };
    let weather = Weather::new(WeatherOptions {
        provider,
        key: settings.api_key.as_ref().map(|key| key.reveal().to_owned()),
        url: settings.url.clone(),
        place: settings
            .place
            .map(|place| (place.latitude, place.longitude)),
        tls: Some(Arc::clone(&tls.client)),
    })?;
    Ok(Some(weather))
}

/// Which registry facts become tags.
#[must_use]
pub fn extra_tags(args: &ExtraTagArgs, problems: &mut Problems) -> Vec<ExtraTag> {
    let wanted = args.resolve(problems, &ExtraTag::ALL.map(ExtraTag::as_str));
    let is_wanted = |tag: &ExtraTag| wanted.iter().any(|name| name == tag.as_str());
    ExtraTag::ALL.into_iter().filter(is_wanted).collect()
}

/// Limits of the pipeline.
#[must_use]
pub fn pipeline(batch: &BatchSettings) -> PipelineOptions {
    PipelineOptions {
        batch_points_max: batch.points_max,
        batch_age_max: batch.age_max,
        writes_in_flight_max: batch.writes_in_flight_max,
    }
}
