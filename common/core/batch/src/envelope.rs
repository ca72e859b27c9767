//! Batches and envelopes.

use crate::{EntityFacts, HomeFacts};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use uuid::Uuid;

/// Where an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Read from the WebSocket as it happened.
    Live,
    /// Fetched from Home Assistant's history after a gap.
    Backfill,
    /// Read from a file.
    Import,
    /// Posted to the HTTP intake.
    Rest,
}

impl Origin {
    /// The word that stands in the database and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Backfill => "backfill",
            Self::Import => "import",
            Self::Rest => "rest",
        }
    }
}

/// One event and what the producer knows about it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<'a> {
    /// UUIDv7, given when the event was received.
    #[serde(rename = "id", with = "id")]
    pub id: Uuid,
    /// The home's name.
    #[serde(borrow)]
    pub instance: Cow<'a, str>,
    /// The producer's run that counted this event (live events): milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "epoch")]
    pub run_id: Option<u64>,
    /// The event's number in that run, from 1, given after filtering: without gaps (live events).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// When the event was received, nanoseconds since the epoch.
    #[serde(rename = "received_at")]
    pub received_at_ns: i64,
    /// Where it came from.
    pub origin: Origin,
    /// The untouched bytes of the event object.
    #[serde(with = "bytes", borrow)]
    pub json: Cow<'a, [u8]>,
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("id", &self.id)
            .field("instance", &self.instance)
            .field("epoch", &self.run_id)
            .field("sequence", &self.sequence)
            .field("origin", &self.origin)
            .field("json_bytes", &self.json.len())
            .finish_non_exhaustive()
    }
}

/// One message: envelopes, and once for all of them the facts that enrichment needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch<'a> {
    /// Layout version.
    #[serde(rename = "v")]
    pub version: u16,
    /// What is known of the home at the time.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub home: Option<HomeFacts<'a>>,
    /// What the registries say of the entities in this batch.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<EntityFacts<'a>>,
    /// Set when the batch is a dead letter that is sent again through the spool, which keeps no
    /// headers; at the broker the headers of the message say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// The events, oldest first.
    #[serde(borrow)]
    pub envelopes: Vec<Envelope<'a>>,
}

/// What a dead letter that is sent again carries on, so that one that fails again can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// How often it has been sent again, this time included.
    pub count: u32,
    /// When it failed for the first time, nanoseconds since the epoch.
    #[serde(rename = "first_failed_at")]
    pub first_failed_at_ns: i64,
}

impl<'a> Batch<'a> {
    /// A batch of this build's version without facts.
    #[must_use]
    pub fn new(envelopes: Vec<Envelope<'a>>) -> Self {
        Self {
            version: crate::VERSION,
            home: None,
            entities: Vec::new(),
            replay: None,
            envelopes,
        }
    }
}

/// UUIDs as 16 bytes, whatever the uuid crate's own choice for a format is.
mod id {
    use serde::{Deserialize, Deserializer, Serializer};
    use uuid::Uuid;

    pub fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(id.as_bytes())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let bytes = <&serde_bytes::Bytes>::deserialize(deserializer)?;
        Uuid::from_slice(bytes).map_err(serde::de::Error::custom)
    }
}

/// Bytes that borrow when decoded (serde would copy them, or read them as a list of numbers).
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::borrow::Cow;

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub fn deserialize<'de: 'a, 'a, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Cow<'a, [u8]>, D::Error> {
        let bytes = <&'de serde_bytes::Bytes>::deserialize(deserializer)?;
        Ok(Cow::Borrowed(bytes))
    }
}
