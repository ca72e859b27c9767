//! Records: what the producer itself has to say goes the way of the events, as events of types that
//! Home Assistant does not know. They carry no number, which tells them from an event of that name
//! on Home Assistant's bus.

use crate::{ENTITIES, QUALITY};
use ha_batch::Envelope;
use ha_event::BusEvent;
use ha_point::{Point, Value};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Event type of an [`EntityRecord`].
pub const ENTITY_RECORD: &str = "ha_ingestor_entity";

/// Event type of a [`QualityRecord`].
pub const QUALITY_RECORD: &str = "ha_ingestor_quality";

/// What Home Assistant's registries say of an entity; stored in `home_assistant_entities`. What is
/// absent has no value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityRecord<'a> {
    /// `domain.object_id`; a tag.
    #[serde(borrow)]
    pub entity_id: Cow<'a, str>,
    /// Area name: the entity's own, else that of its device.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub area: Option<Cow<'a, str>>,
    /// Name of the area's floor.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Cow<'a, str>>,
    /// Device name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Cow<'a, str>>,
    /// The device's manufacturer.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<Cow<'a, str>>,
    /// The device's model.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Cow<'a, str>>,
    /// Integration that provides the entity.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub integration: Option<Cow<'a, str>>,
    /// Names of the entity's labels, sorted, a comma between them.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Cow<'a, str>>,
    /// The name that Home Assistant shows.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub friendly_name: Option<Cow<'a, str>>,
    /// Unit of the entity's states.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Cow<'a, str>>,
}

/// What the producer counted of its run; stored in `data_quality`. Counts are totals of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QualityRecord {
    /// The run: when it began, milliseconds since 1970.
    #[serde(rename = "epoch")]
    pub run_id: u64,
    /// The last number that was given to an event.
    pub sequence_last: u64,
    /// Events read from Home Assistant.
    pub received: u64,
    /// Events left out by the filters.
    pub filtered: u64,
    /// Numbered events that are safe: with the route, in the spool, or dead letters.
    pub settled: u64,
    /// Events lost for good.
    pub lost: u64,
    /// Percent of what was to be kept, since the last record, that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<f64>,
    /// Mean quality score of the events since the last record, 0 to 100; absent if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// The point of a record; none for what is an event of Home Assistant's.
pub(crate) fn record<'a>(event: &BusEvent<'a>, envelope: &'a Envelope<'_>) -> Option<Point<'a>> {
    if envelope.sequence.is_some() {
        return None;
    }
    let data = event.data?.get();
    let mut point = match event.event_type.as_ref() {
        ENTITY_RECORD => entity(serde_json::from_str(data).ok()?, event),
        QUALITY_RECORD => quality(&serde_json::from_str(data).ok()?, event),
        _ => return None,
    };
    point.tag("instance", envelope.instance.as_ref());
    Some(point)
}

fn entity<'a>(record: EntityRecord<'a>, event: &BusEvent<'a>) -> Point<'a> {
    let mut point = Point::new(ENTITIES, event.time_fired.as_nanos());
    point.tag("entity_id", record.entity_id);
    for (name, value) in [
        ("area", record.area),
        ("device", record.device),
        ("floor", record.floor),
        ("friendly_name", record.friendly_name),
        ("integration", record.integration),
        ("labels", record.labels),
        ("manufacturer", record.manufacturer),
        ("model", record.model),
        ("unit", record.unit),
    ] {
        if let Some(value) = value {
            point.field(name, Value::Text(value));
        }
    }
    point
}

fn quality<'a>(record: &QualityRecord, event: &BusEvent<'a>) -> Point<'a> {
    let mut point = Point::new(QUALITY, event.time_fired.as_nanos());
    for (name, value) in [
        ("epoch", record.run_id),
        ("filtered", record.filtered),
        ("lost", record.lost),
        ("received", record.received),
        ("sequence_last", record.sequence_last),
        ("settled", record.settled),
    ] {
        point.field(
            name,
            Value::Integer(i64::try_from(value).unwrap_or(i64::MAX)),
        );
    }
    for (name, value) in [("capture", record.capture), ("score", record.score)] {
        if let Some(value) = value {
            point.float(name, value);
        }
    }
    point
}
