//! Tags: who, of what kind, in which home.

use super::outcome::Outcome;
use crate::facts::Facts;
use std::borrow::Cow;

pub(super) fn identify<'a>(facts: &Facts<'a, '_>, outcome: &mut Outcome<'a>) {
    let point = &mut outcome.point;
    let domain = match &facts.event.entity_id {
        Cow::Borrowed(id) => Cow::Borrowed(id.split_once('.').map_or(*id, |(domain, _)| domain)),
        Cow::Owned(_) => Cow::Owned(facts.event.domain().to_owned()),
    };
    // In the order of their names, which is the order of the encoding.
    if let Some(class) = &facts.device_class {
        point.tag("device_class", class.clone());
    }
    point.tag("domain", domain);
    point.tag("entity_id", facts.event.entity_id.clone());
    point.tag("instance", facts.arrival.instance);
}
