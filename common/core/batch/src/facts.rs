//! Facts that travel once a batch instead of once an event.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The home, as Home Assistant's `get_config` and its own entities describe it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HomeFacts<'a> {
    /// IANA name of the time zone.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "borrowed::option"
    )]
    pub time_zone: Option<Cow<'a, str>>,
    /// Degrees north.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// State of `sun.sun`.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "borrowed::option"
    )]
    pub sun: Option<Cow<'a, str>>,
    /// The home's own weather.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub weather: Option<WeatherFacts<'a>>,
}

/// One observation of the home's `weather.*` entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeatherFacts<'a> {
    /// When it was observed, microseconds since the epoch.
    #[serde(rename = "observed_at")]
    pub observed_at_us: i64,
    /// The entity's state: sunny, rainy, …
    #[serde(borrow)]
    pub condition: Cow<'a, str>,
    /// The entity's attributes, untouched JSON.
    #[serde(borrow)]
    pub attributes: Cow<'a, str>,
}

/// What the registries say of one entity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EntityFacts<'a> {
    /// `domain.object_id`.
    #[serde(borrow)]
    pub entity_id: Cow<'a, str>,
    /// Area name.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "borrowed::option"
    )]
    pub area: Option<Cow<'a, str>>,
    /// Floor name.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "borrowed::option"
    )]
    pub floor: Option<Cow<'a, str>>,
    /// Device name.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "borrowed::option"
    )]
    pub device: Option<Cow<'a, str>>,
    /// Integration that provides the entity.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "borrowed::option"
    )]
    pub integration: Option<Cow<'a, str>>,
    /// Label names.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "borrowed::list"
    )]
    pub labels: Vec<Cow<'a, str>>,
}

/// Texts within another type that borrow when decoded: serde does that for a `Cow` by itself only.
mod borrowed {
    use serde::{Deserialize, Deserializer};
    use std::borrow::Cow;

    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    pub fn option<'de: 'a, 'a, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Cow<'a, str>>, D::Error> {
        let text = Option::<Text<'a>>::deserialize(deserializer)?;
        Ok(text.map(|text| text.0))
    }

    pub fn list<'de: 'a, 'a, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Cow<'a, str>>, D::Error> {
        let texts = Vec::<Text<'a>>::deserialize(deserializer)?;
        Ok(texts.into_iter().map(|text| text.0).collect())
    }
}
