//! What the state itself says.

use super::outcome::Outcome;
use crate::facts::Facts;
use crate::units::normalized;
use ha_point::Value;
use std::borrow::Cow;

/// `state`, `value`, `available`, `removed`.
pub(super) fn state<'a>(facts: &Facts<'a, '_>, outcome: &mut Outcome<'a>) {
    let point = &mut outcome.point;
    let Some(new) = &facts.event.new_state else {
        point.field("removed", Value::Boolean(true));
        return;
    };
    point.field("state", Value::Text(new.state.clone()));
    if matches!(new.state.as_ref(), "unavailable" | "unknown") {
        point.field("available", Value::Boolean(false));
    } else if let Some(number) = facts.value {
        point.float("value", number);
    }
}

/// `duration_in_state_s`: seconds that the old state lasted. None on attribute-only updates, which
/// leave `last_changed` as it was, and where Home Assistant's clock went backwards.
pub(super) fn duration<'a>(facts: &Facts<'a, '_>, outcome: &mut Outcome<'a>) {
    let since = facts
        .event
        .old_state
        .as_ref()
        .and_then(|old| old.last_changed);
    let until = match &facts.event.new_state {
        Some(new) => new.last_changed,
        None => facts.event.time_fired,
    };
    if let (Some(since), Some(until)) = (since, until)
        && until > since
    {
        outcome
            .point
            .float("duration_in_state_s", until.seconds_since(since));
    }
}

/// `value_normalized`, `unit_normalized`: the value on its quantity's one scale, also where it is
/// there already, so that one query reads every sensor.
pub(super) fn units<'a>(facts: &Facts<'a, '_>, outcome: &mut Outcome<'a>) {
    if !facts.options.normalize_units {
        return;
    }
    let measured = facts.value.zip(facts.unit.as_deref());
    let class = facts.device_class.as_deref();
    if let Some((value, unit)) = measured.and_then(|(value, unit)| normalized(value, unit, class)) {
        outcome.point.float("value_normalized", value);
        outcome
            .point
            .field("unit_normalized", Value::Text(Cow::Borrowed(unit)));
    }
}
