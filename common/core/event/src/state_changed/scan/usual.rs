//! The event as Home Assistant writes it: members in one order, no white space, nothing escaped.
//! Names are passed instead of read, and what stands in the event twice is read once.

use super::scanner::{Quoted, Scan};
use crate::UtcMicros;
use crate::attributes::Entry;
use crate::facts::Facts;
use crate::state_changed::wire::{Data, STATE_CHANGED, Text, Wire, WireState};
use std::borrow::Cow;

const ENTITY_ID: &[u8] = b"{\"entity_id\":";
const STATE: &[u8] = b",\"state\":";
const ATTRIBUTES: &[u8] = b",\"attributes\":{";
const LAST_CHANGED: &[u8] = b",\"last_changed\":";
const LAST_REPORTED: &[u8] = b",\"last_reported\":";
const LAST_UPDATED: &[u8] = b",\"last_updated\":";
const CONTEXT: &[u8] = b",\"context\":{";
const ID: &[u8] = b"{\"id\":";
const PARENT_ID: &[u8] = b",\"parent_id\":";
const USER_ID: &[u8] = b",\"user_id\":";
const EVENT: &[u8] = b"{\"event_type\":\"state_changed\",\"data\":{\"entity_id\":";
const OLD_STATE: &[u8] = b",\"old_state\":";
const NEW_STATE: &[u8] = b",\"new_state\":";
const ORIGIN: &[u8] = b"},\"origin\":";
const TIME_FIRED: &[u8] = b",\"time_fired\":";

/// A state as Home Assistant writes it: where its members stand, and what was made of its attributes.
struct UsualState<A> {
    entity_id: Quoted,
    state: Quoted,
    attributes: A,
    last_changed: Quoted,
    last_updated: Quoted,
}

impl<'a> Scan<'a, true> {
    /// The event as Home Assistant writes it: these members in this order, without white space. The
    /// scan is left anywhere where it is another.
    pub(super) fn event_as_usual(&mut self) -> Option<Wire<'a>> {
        let entity_id = self.begins_as_usual()?;
        let mut old_state = self.wire_state()?;
        if let Some(old) = &mut old_state {
            self.seen.attributes = old.attributes.unwrap_or_default();
            self.seen.entries = old.entries.take().unwrap_or_default();
        }
        self.take(NEW_STATE)?;
        let new_state = self.wire_state()?;
        if let Some(old) = &mut old_state {
            old.entries = Some(std::mem::take(&mut self.seen.entries));
        }
        let (time_fired, context) = self.ends_as_usual()?;
        (self.at == self.text.len()).then_some(())?;
        Some(Wire {
            event_type: Cow::Borrowed(STATE_CHANGED),
            state_changed: Some(Data {
                entity_id: self.unquoted(&entity_id)?,
                old_state,
                new_state,
            }),
            data: None,
            time_fired: Some(Text(self.unquoted(&time_fired)?)),
            context: Some(context),
        })
    }

    fn wire_state(&mut self) -> Option<Option<WireState<'a>>> {
        let Some(found) = self.state_as_usual(Self::attributes_again)? else {
            return Some(None);
        };
        let (attributes, entries) = found.attributes;
        Some(Some(WireState {
            entity_id: Some(Text(self.unquoted(&found.entity_id)?)),
            state: self.unquoted(&found.state)?,
            attributes,
            entries: Some(entries),
            last_changed: Some(Text(self.unquoted(&found.last_changed)?)),
            last_updated: Some(Text(self.unquoted(&found.last_updated)?)),
        }))
    }

    /// Those of the old state, or others.
    fn attributes_again(&mut self) -> Option<(Option<&'a str>, Vec<Entry<'a>>)> {
        let seen = self.seen.attributes;
        if !seen.is_empty() && self.take(seen.as_bytes()).is_some() {
            return Some((Some(seen), std::mem::take(&mut self.seen.entries)));
        }
        self.attributes()
    }
}

impl<'a, const PLAIN: bool> Scan<'a, PLAIN> {
    /// What [`Facts`] says of an event that begins here, as Home Assistant writes it; the scan is
    /// left behind it.
    pub(super) fn facts_as_usual(&mut self) -> Option<Facts> {
        let start = self.at;
        let entity_id = self.begins_as_usual()?;
        self.state_as_usual(Self::pass_attributes)?;
        self.take(NEW_STATE)?;
        let new_state = self.state_as_usual(Self::pass_attributes)?;
        let (fired, _) = self.ends_as_usual()?;
        let updated = new_state.map(|new| new.last_updated);
        let times = [updated.as_ref(), Some(&fired)];
        // What is escaped is for others to read.
        if entity_id.is_escaped || times.iter().flatten().any(|time| time.is_escaped) {
            return None;
        }
        let time = |quoted: &Quoted| {
            let text = self.text.get(quoted.start + 1..quoted.end - 1)?;
            UtcMicros::parse(text).ok()
        };
        Some(Facts {
            entity_id: entity_id.start + 1 - start..entity_id.end - 1 - start,
            source_time: times.into_iter().flatten().find_map(time),
        })
    }

    /// Passes the attributes; those of the old state need no second look.
    fn pass_attributes(&mut self) -> Option<()> {
        let (seen, start) = (self.seen.attributes, self.at);
        if seen.is_empty() || self.take(seen.as_bytes()).is_none() {
            self.value(0)?;
            self.seen.attributes = self.text.get(start..self.at)?;
        }
        Some(())
    }

    /// Up to the old state; where the entity's id stands.
    fn begins_as_usual(&mut self) -> Option<Quoted> {
        self.take(EVENT)?;
        let entity_id = self.string()?;
        self.take(OLD_STATE)?;
        Some(entity_id)
    }

    /// What stands behind the new state: where `time_fired` does, and the context.
    fn ends_as_usual(&mut self) -> Option<(Quoted, &'a str)> {
        self.take(ORIGIN)?;
        self.string()?;
        self.take(TIME_FIRED)?;
        let fired = self.string()?;
        let context = self.context_as_usual()?;
        self.take(b"}")?;
        Some((fired, context))
    }

    /// A state or null; `attributes` reads the object that begins where the scan stands.
    fn state_as_usual<A>(
        &mut self,
        attributes: impl FnOnce(&mut Self) -> Option<A>,
    ) -> Option<Option<UsualState<A>>> {
        if self.is_null()? {
            return Some(None);
        }
        self.take(ENTITY_ID)?;
        let entity_id = self.string()?;
        self.take(STATE)?;
        let state = self.string()?;
        self.take(ATTRIBUTES)?;
        self.at -= 1;
        let attributes = attributes(self)?;
        self.take(LAST_CHANGED)?;
        let last_changed = self.string()?;
        // From 2024.4 on.
        if self.take(LAST_REPORTED).is_some() {
            self.string()?;
        }
        self.take(LAST_UPDATED)?;
        let last_updated = self.string()?;
        self.seen.context = self.context_as_usual()?;
        self.take(b"}")?;
        Some(Some(UsualState {
            entity_id,
            state,
            attributes,
            last_changed,
            last_updated,
        }))
    }

    /// The member `context`: that of the last state, or another.
    fn context_as_usual(&mut self) -> Option<&'a str> {
        self.take(CONTEXT)?;
        self.at -= 1;
        let seen = self.seen.context;
        if !seen.is_empty() && self.take(seen.as_bytes()).is_some() {
            return Some(seen);
        }
        let start = self.at;
        if self.members_of_context().is_none() {
            self.at = start;
            self.value(0)?;
        }
        self.text.get(start..self.at)
    }

    fn members_of_context(&mut self) -> Option<()> {
        self.take(ID)?;
        self.string()?;
        self.take(PARENT_ID)?;
        self.optional_string()?;
        self.take(USER_ID)?;
        self.optional_string()?;
        self.take(b"}")
    }

    fn optional_string(&mut self) -> Option<()> {
        self.take(b"null").or_else(|| self.string().map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_as_home_assistant_writes_it_goes_the_shortest_way() {
        let state = |state: &str| {
            format!(
                r#"{{"entity_id":"light.a","state":"{state}","attributes":{{"a":1}},"last_changed":"b","last_reported":"b","last_updated":"b","context":{{"id":"c"}}}}"#
            )
        };
        let (old, new) = (state("off"), state("on"));
        let text = format!(
            r#"{{"event_type":"state_changed","data":{{"entity_id":"light.a","old_state":{old},"new_state":{new}}},"origin":"LOCAL","time_fired":"b","context":{{"id":"c"}}}}"#
        );
        assert!(super::super::is_plain(&text));
        let mut scan = Scan::new(&text);
        let data = scan.event_as_usual().unwrap().state_changed.unwrap();
        let entries = |state: Option<WireState<'_>>| state.unwrap().entries.unwrap().len();
        assert_eq!((entries(data.old_state), entries(data.new_state)), (0, 1));
    }
}
