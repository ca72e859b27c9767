//! Attributes as fields: numbers and booleans as `attr_<name>`, everything else as `text_<name>`,
//! so that a field's type is a function of its name.
//!
//! An attribute that is null has no value, as one that is absent has none. What an attribute is at
//! any time is what the last point says that speaks of it:
//! - its `attr_` or `text_` field, whichever is the newer: it may change between number and text;
//! - `attributes_removed`, a JSON list of the names that had a value in the event's old state and
//!   have none in the new one;
//! - `attributes_complete=true`, on the point of an event without an old state (a new entity, or any
//!   after a restart) that did not come by gap fill: every attribute that is not a field of this
//!   point has no value;
//! - `attributes_left_out`, a JSON list of names that have a value here which the database did not
//!   take (`ha-sink` writes it): what they are is not known;
//! - `removed=true`: nothing has.

use super::outcome::Outcome;
use crate::AttributePolicy;
use crate::facts::Facts;
use ha_batch::Origin;
use ha_event::{Entry, Scalar};
use ha_point::{Point, Prefix, Value};
use std::borrow::Cow;

pub(super) fn attributes<'a>(facts: &Facts<'a, '_>, outcome: &mut Outcome<'a>) {
    let Outcome { point, report } = outcome;
    let left_out = &mut report.left_out;
    let policy = facts.options.attributes;
    let Some(new) = &facts.event.new_state else {
        return;
    };
    let count = facts.attributes.len() as u32;
    if policy == AttributePolicy::None {
        left_out.none_wanted = count;
        return;
    }
    let old = facts.event.old_state.as_ref();
    // The recorder leaves attributes out (those that an integration names, and all where they are
    // too many), so an event of history does not say that they have no value.
    if old.is_none() && facts.arrival.origin != Origin::Backfill {
        point.field("attributes_complete", Value::Boolean(true));
    }
    // Most updates change the state alone; equal texts are equal attributes.
    let is_equal = old.is_some_and(|old| old.attributes.json() == new.attributes.json());
    if is_equal && policy == AttributePolicy::Changed {
        left_out.unchanged = count;
        return;
    }
    let old: &[Entry<'a>] = match old {
        Some(old) if !is_equal => &old.entries,
        _ => &[],
    };
    let excluded = &facts.options.exclude_attributes;
    let mut place = 0;
    for (name, value) in facts.attributes {
        let of_old = find(old, &mut place, name);
        if policy == AttributePolicy::Changed && of_old == Some(value) {
            left_out.unchanged += 1;
        } else if excluded.contains(name.as_ref()) {
            left_out.excluded += 1;
        } else {
            write(point, name.clone(), value);
        }
    }
    let mut place = 0;
    let mut removed = old.iter().filter(|(name, value)| {
        has_value(value)
            && !find(facts.attributes, &mut place, name).is_some_and(|new| has_value(new))
            && !excluded.contains(name.as_ref())
    });
    if let Some(first) = removed.next() {
        let names: serde_json::Value = std::iter::once(first)
            .chain(removed)
            .map(|(name, _)| name.as_ref())
            .collect();
        point.field("attributes_removed", Value::Text(names.to_string().into()));
    }
}

fn has_value(json: &str) -> bool {
    json != "null"
}

/// The value of a name. Home Assistant keeps the order of attributes, so the place behind the last
/// one found is looked at first.
fn find<'x, 'a>(entries: &'x [Entry<'a>], place: &mut usize, name: &str) -> Option<&'x &'a str> {
    let at = match entries.get(*place) {
        Some((found, _)) if found == name => *place,
        _ => entries.iter().position(|(found, _)| found == name)?,
    };
    *place = at + 1;
    entries.get(at).map(|(_, value)| value)
}

fn write<'a>(point: &mut Point<'a>, name: Cow<'a, str>, value: &'a str) {
    let (prefix, value) = match Scalar::parse(value) {
        Scalar::Null => return,
        Scalar::Boolean(value) => (Prefix::Attribute, Value::Float(f64::from(u8::from(value)))),
        Scalar::Number(number) => (Prefix::Attribute, Value::Float(number)),
        Scalar::Text(text) => (Prefix::Text, Value::Text(text)),
        Scalar::Json(json) => (Prefix::Text, Value::Text(Cow::Borrowed(json))),
    };
    point.prefixed(prefix, name, value);
}
