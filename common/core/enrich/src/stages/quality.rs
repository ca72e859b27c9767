//! What the rules say of the event, and how it is written.

use super::outcome::Outcome;
use crate::facts::Facts;
use crate::{Basis, flags};
use ha_point::Value;

/// Fills the report.
pub(super) fn validate<'a>(facts: &Facts<'a, '_>, outcome: &mut Outcome<'a>) {
    outcome.report.flags = flags::broken(facts);
    outcome.report.is_validated = true;
}

/// `quality_score` and `quality_flags`, functions of the event's JSON; `clock_flags`, of live
/// events, apart from them, so that an import of the same event does not contradict them.
pub(super) fn quality<'a>(_: &Facts<'a, '_>, outcome: &mut Outcome<'a>) {
    if outcome.report.flags.is_empty() {
        return;
    }
    let point = &mut outcome.point;
    let of_event = outcome.report.flags.of_basis(Basis::Event);
    let of_clock = outcome.report.flags.of_basis(Basis::Clock);
    if of_event.score() < 100.0 {
        point.float("quality_score", of_event.score());
    }
    for (name, flags) in [("quality_flags", of_event), ("clock_flags", of_clock)] {
        if !flags.is_empty() {
            point.field(name, Value::Text(flags.ids().into()));
        }
    }
}
