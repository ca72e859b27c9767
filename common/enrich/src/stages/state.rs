//! What the state itself says.

use super::value::numeric_value;
use ha_event::{State, StateChanged};
use ha_point::{Point, Value};

/// `state`, `value`, `available`, `removed`, `duration_in_state_s`.
pub(super) fn state<'a>(point: &mut Point<'a>, event: &StateChanged<'a>) {
    match &event.new_state {
        Some(new) => {
            point.field("state", Value::Text(new.state.clone()));
            if matches!(new.state.as_ref(), "unavailable" | "unknown") {
                point.field("available", Value::Boolean(false));
            } else if let Some(number) = numeric_value(event.domain(), &new.state) {
                point.float("value", number);
            }
        }
        None => point.field("removed", Value::Boolean(true)),
    }
    if let Some(seconds) = duration_of_old_state(event) {
        point.float("duration_in_state_s", seconds);
    }
}

/// Seconds that the old state lasted. None on attribute-only updates, which leave `last_changed`
/// as it was, and where Home Assistant's clock went backwards.
fn duration_of_old_state(event: &StateChanged<'_>) -> Option<f64> {
    let since = event
        .old_state
        .as_ref()
        .and_then(|old: &State<'_>| old.last_changed)?;
    let until = match &event.new_state {
        Some(new) => new.last_changed?,
        None => event.time_fired?,
    };
    (until > since).then(|| until.seconds_since(since))
}
