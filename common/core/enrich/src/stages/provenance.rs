//! How the event came here, which is what the audit counts by, and who caused it.

use super::outcome::Outcome;
use crate::Depth;
use crate::facts::Facts;
use ha_batch::Origin;
use ha_event::Context;
use ha_point::{Point, Value};
use std::borrow::Cow;

/// `origin`, `run_id`, `sequence`, `enriched`, and the context where it is wanted.
pub(super) fn provenance<'a>(facts: &Facts<'a, '_>, outcome: &mut Outcome<'a>) {
    let point = &mut outcome.point;
    arrival(
        point,
        facts.arrival.origin,
        facts.arrival.run_id,
        facts.arrival.sequence,
    );
    if facts.options.context_fields {
        context(point, &facts.event.context.read());
    }
    if facts.options.depth == Depth::Full {
        point.field("enriched", Value::Boolean(true));
    }
}

pub(super) fn arrival(
    point: &mut Point<'_>,
    origin: Origin,
    run_id: Option<u64>,
    sequence: Option<u64>,
) {
    if origin != Origin::Live {
        point.field("origin", Value::Text(Cow::Borrowed(origin.as_str())));
    }
    for (name, number) in [("epoch", run_id), ("sequence", sequence)] {
        if let Some(number) = number.and_then(|number| i64::try_from(number).ok()) {
            point.field(name, Value::Integer(number));
        }
    }
}

pub(super) fn context<'a>(point: &mut Point<'a>, context: &Context<'a>) {
    for (name, value) in [
        ("context_id", &context.id),
        ("context_parent_id", &context.parent_id),
        ("context_user_id", &context.user_id),
    ] {
        if let Some(value) = value {
            point.field(name, Value::Text(value.clone()));
        }
    }
}
