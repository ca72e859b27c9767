//! Attributes as fields: numbers and booleans as `attr_<name>`, everything else as `text_<name>`,
//! so that a field's type is a function of its name.

use crate::{AttributePolicy, Options};
use ha_event::{Scalar, StateChanged};
use ha_point::{Point, Value};
use std::borrow::Cow;

pub(super) fn attributes<'a>(point: &mut Point<'a>, event: &StateChanged<'a>, options: &Options) {
    let Some(new) = &event.new_state else { return };
    let old = match options.attributes {
        AttributePolicy::None => return,
        AttributePolicy::All => Vec::new(),
        AttributePolicy::Changed => match &event.old_state {
            // Most updates change the state alone; equal texts are equal attributes.
            Some(old) if old.attributes.json() == new.attributes.json() => return,
            Some(old) => old.attributes.entries(),
            None => Vec::new(),
        },
    };
    for (index, (name, value)) in new.attributes.entries().into_iter().enumerate() {
        if is_unchanged(&old, index, &name, value) || options.exclude_attributes.contains(&*name) {
            continue;
        }
        match Scalar::parse(value) {
            Scalar::Null => {}
            Scalar::Boolean(value) => {
                point.prefixed("attr_", name, Value::Float(f64::from(u8::from(value))));
            }
            Scalar::Number(number) => point.prefixed("attr_", name, Value::Float(number)),
            Scalar::Text(text) => point.prefixed("text_", name, Value::Text(text)),
            Scalar::Json(json) => point.prefixed("text_", name, Value::Text(Cow::Borrowed(json))),
        }
    }
}

/// Home Assistant keeps the order of attributes, so the same place is looked at first.
fn is_unchanged(old: &[(Cow<'_, str>, &str)], index: usize, name: &str, value: &str) -> bool {
    match old.get(index) {
        Some((old_name, old_value)) if old_name == name => *old_value == value,
        _ => old
            .iter()
            .any(|(old_name, old_value)| old_name == name && *old_value == value),
    }
}
