//! The short way to what the producer needs of an event: the facts of a `state_changed` event as
//! Home Assistant writes it, found in the pass that also finds its end and checks its JSON.

use crate::state_changed::STATE_CHANGED;
use crate::{Peek, UtcMicros};
use std::borrow::Cow;
use std::ops::Range;

/// What [`peek`](crate::peek) would say of a `state_changed` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where the entity's id stands, in bytes from the event's beginning.
    pub(crate) entity_id: Range<usize>,
    /// As in [`Peek::source_time`].
    pub(crate) source_time: Option<UtcMicros>,
}

impl Facts {
    /// The [`Peek`] of the event that they were read from; `None` for other bytes.
    #[must_use]
    pub fn of<'a>(&self, json: &'a [u8]) -> Option<Peek<'a>> {
        let entity_id = std::str::from_utf8(json.get(self.entity_id.clone())?).ok()?;
        Some(Peek {
            event_type: Cow::Borrowed(STATE_CHANGED),
            entity_id: Some(Cow::Borrowed(entity_id)),
            source_time: self.source_time,
        })
    }
}
