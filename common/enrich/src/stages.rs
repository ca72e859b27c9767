//! The stages, in their order.

mod attributes;
mod state;
mod value;

use crate::{BUS, Depth, EVENTS, Options};
use ha_event::{BusEvent, Context, EventError, StateChanged};
use ha_frame::{Envelope, HomeFacts, Origin};
use ha_point::{Point, Value};
use std::borrow::Cow;

pub(crate) fn state_changed<'a>(
    event: &StateChanged<'a>,
    envelope: &'a Envelope<'_>,
    _home: Option<&'a HomeFacts<'_>>,
    options: &Options,
) -> Result<Point<'a>, EventError> {
    // `parse` has refused an event without a time.
    let time = event.source_time().ok_or_else(|| EventError::NoState {
        entity_id: event.entity_id.to_string(),
    })?;
    let mut point = Point::new(EVENTS, time.as_nanos());
    identify(&mut point, event, envelope);
    state::state(&mut point, event);
    attributes::attributes(&mut point, event, options);
    provenance(&mut point, envelope);
    if options.context_fields {
        context(&mut point, &event.context);
    }
    if options.depth == Depth::Full {
        point.field("enriched", Value::Boolean(true));
    }
    Ok(point)
}

/// Any other event: its data as it came. Events of one type in one microsecond stay apart by a
/// nanosecond that is a function of the event's bytes.
pub(crate) fn bus<'a>(event: &BusEvent<'a>, envelope: &'a Envelope<'_>) -> Point<'a> {
    let tie = (fnv1a(&envelope.json) % 1_000) as i64;
    let mut point = Point::new(BUS, event.time_fired.as_nanos().saturating_add(tie));
    point.tag("instance", envelope.instance.as_ref());
    point.tag("event_type", event.event_type.clone());
    let data = event.data.map_or("null", |data| data.get());
    point.field("data", Value::Text(Cow::Borrowed(data)));
    context(&mut point, &event.context);
    provenance(&mut point, envelope);
    point
}

/// Tags: who, of what kind, in which home.
fn identify<'a>(point: &mut Point<'a>, event: &StateChanged<'a>, envelope: &'a Envelope<'_>) {
    let domain = match &event.entity_id {
        Cow::Borrowed(id) => Cow::Borrowed(id.split_once('.').map_or(*id, |(domain, _)| domain)),
        Cow::Owned(_) => Cow::Owned(event.domain().to_owned()),
    };
    point.tag("instance", envelope.instance.as_ref());
    point.tag("domain", domain);
    point.tag("entity_id", event.entity_id.clone());
    let of = event.new_state.as_ref().or(event.old_state.as_ref());
    if let Some(class) = of.and_then(|state| state.attributes.text("device_class")) {
        point.tag("device_class", class);
    }
}

/// How the event came here; what the audit counts by.
fn provenance(point: &mut Point<'_>, envelope: &Envelope<'_>) {
    if envelope.origin != Origin::Live {
        point.field(
            "origin",
            Value::Text(Cow::Borrowed(envelope.origin.as_str())),
        );
    }
    let mut integer = |name, number: Option<u64>| {
        if let Some(number) = number.and_then(|number| i64::try_from(number).ok()) {
            point.field(name, Value::Integer(number));
        }
    };
    integer("epoch", envelope.epoch);
    integer("sequence", envelope.sequence);
}

fn context<'a>(point: &mut Point<'a>, context: &Context<'a>) {
    let mut text = |name, value: &Option<Cow<'a, str>>| {
        if let Some(value) = value {
            point.field(name, Value::Text(value.clone()));
        }
    };
    text("context_id", &context.id);
    text("context_parent_id", &context.parent_id);
    text("context_user_id", &context.user_id);
}

/// FNV-1a, 64 bits: small, fixed for all time, and not meant to keep anyone out.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
