//! Events of other types than `state_changed`.

use super::provenance::{arrival, context};
use crate::BUS;
use ha_batch::Envelope;
use ha_event::{BusEvent, fingerprint};
use ha_point::{Point, Value};
use std::borrow::Cow;

/// Its data as it came. Events of one type in one microsecond stay apart by a nanosecond that is a
/// function of the event's bytes.
pub(crate) fn bus<'a>(event: &BusEvent<'a>, envelope: &'a Envelope<'_>) -> Point<'a> {
    let tie = (fingerprint(&envelope.json) % 1_000) as i64;
    let mut point = Point::new(BUS, event.time_fired.as_nanos().saturating_add(tie));
    point.tag("event_type", event.event_type.clone());
    point.tag("instance", envelope.instance.as_ref());
    let data = event.data.map_or("null", |data| data.get());
    point.field("data", Value::Text(Cow::Borrowed(data)));
    context(&mut point, &event.context.read());
    arrival(
        &mut point,
        envelope.origin,
        envelope.run_id,
        envelope.sequence,
    );
    point
}
