//! The state machine: the current state of every entity, and the events that changes make.
//!
//! Home Assistant's rules hold here, for whoever makes the change: an event's old state is the
//! entity's previous new state, a change of attributes alone keeps `last_changed`, times rise
//! strictly (so that entity and time name an event). The text of a state is written once and kept:
//! it is the old state of the next event and the entity's part of `get_states`.

use std::{collections::HashMap, sync::Arc};

use crate::{
    history::Row,
    json::{push_string, push_time},
    ledger::{Ledger, Record, StateText},
};

/// The events of one tick, each a bare event's JSON, and what the ledger and the recorder keep of
/// them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The events' texts, one behind the other.
    pub(crate) text: String,
    /// Where each event ends in `text`.
    pub(crate) ends: Vec<usize>,
    pub(crate) records: Vec<Record>,
    pub(crate) rows: Vec<Row>,
}

/// What an entity becomes.
#[derive(Debug)]
pub(crate) struct NewState<'a> {
    pub(crate) state: &'a str,
    /// A JSON object.
    pub(crate) attributes: &'a Arc<str>,
    /// `last_changed`: by the rule if `None`, else whether it is the time of this event.
    pub(crate) changed: Option<bool>,
}

#[derive(Debug)]
pub(crate) struct StateMachine {
    entities: Vec<Entity>,
    index: HashMap<Arc<str>, u32>,
    ledger: Arc<Ledger>,
    has_last_reported: bool,
    empty_attributes: Arc<str>,
}

#[derive(Debug)]
struct Entity {
    id: Arc<str>,
    current: Option<Current>,
    /// The current state's JSON; its room is kept when the entity is removed.
    json: String,
}

#[derive(Debug)]
struct Current {
    state: StateText,
    attributes: Arc<str>,
    last_changed_us: i64,
}

impl StateMachine {
    pub(crate) fn new(ledger: Arc<Ledger>, has_last_reported: bool) -> Self {
        Self {
            entities: Vec::new(),
            index: HashMap::new(),
            ledger,
            has_last_reported,
            empty_attributes: "{}".into(),
        }
    }

    /// The index of the entity, which exists from then on (without a state).
    pub(crate) fn intern(&mut self, entity_id: &str) -> u32 {
        if let Some(entity) = self.index.get(entity_id) {
            return *entity;
        }
        let id: Arc<str> = entity_id.into();
        let entity = self.entities.len() as u32;
        self.entities.push(Entity {
            id: id.clone(),
            current: None,
            json: String::new(),
        });
        self.ledger.add_entity(id.clone());
        self.index.insert(id, entity);
        entity
    }

    pub(crate) fn find(&self, entity_id: &str) -> Option<u32> {
        self.index.get(entity_id).copied()
    }

    /// State and attributes, if the entity has a state.
    pub(crate) fn current(&self, entity: u32) -> Option<(&str, &Arc<str>)> {
        let current = self.entities[entity as usize].current.as_ref()?;
        Some((current.state.as_str(), &current.attributes))
    }

    /// Sets a state without an event: how the house begins.
    pub(crate) fn begin(
        &mut self,
        entity: u32,
        new: &NewState<'_>,
        time_us: i64,
        context: &str,
    ) -> Row {
        self.update(entity, new, time_us, context);
        self.ledger
            .add_initial(&Record::new(entity, time_us, Some(new.state.into())));
        Row {
            entity,
            state: Some(new.state.into()),
            attributes: new.attributes.clone(),
            last_updated_us: time_us,
            last_changed_us: time_us,
        }
    }

    /// Changes, creates (there was no state) or removes (`new` is `None`) an entity and appends the
    /// event. `context` is the JSON of the context.
    pub(crate) fn change(
        &mut self,
        entity: u32,
        new: Option<&NewState<'_>>,
        time_us: i64,
        context: &str,
        batch: &mut Batch,
    ) {
        let out = &mut batch.text;
        let held = &self.entities[entity as usize];
        out.push_str(r#"{"event_type":"state_changed","data":{"entity_id":""#);
        out.push_str(&held.id);
        out.push_str(r#"","old_state":"#);
        out.push_str(if held.current.is_some() {
            &held.json
        } else {
            "null"
        });
        out.push_str(r#","new_state":"#);
        let state = match new {
            Some(new) => {
                let last_changed_us = self.update(entity, new, time_us, context);
                out.push_str(&self.entities[entity as usize].json);
                batch.rows.push(Row {
                    entity,
                    state: Some(new.state.into()),
                    attributes: new.attributes.clone(),
                    last_updated_us: time_us,
                    last_changed_us,
                });
                Some(new.state.into())
            }
            None => {
                self.entities[entity as usize].current = None;
                out.push_str("null");
                // The recorder keeps a removal as a row whose state is null.
                batch.rows.push(Row {
                    entity,
                    state: None,
                    attributes: self.empty_attributes.clone(),
                    last_updated_us: time_us,
                    last_changed_us: time_us,
                });
                None
            }
        };
        out.push_str(r#"},"origin":"LOCAL","time_fired":""#);
        push_time(out, time_us);
        out.push_str(r#"","context":"#);
        out.push_str(context);
        out.push('}');
        batch.ends.push(batch.text.len());
        batch.records.push(Record::new(entity, time_us, state));
    }

    /// All states as the JSON array that `get_states` answers.
    pub(crate) fn states_json(&self) -> String {
        let states: Vec<&str> = self
            .entities
            .iter()
            .filter(|entity| entity.current.is_some())
            .map(|entity| entity.json.as_str())
            .collect();
        format!("[{}]", states.join(","))
    }

    /// Takes a state over as it is, without an event.
    pub(crate) fn adopt(&mut self, row: &Row, context: &str) {
        self.write(
            row.entity,
            (
                row.state.as_ref().map_or("", |state| state.as_str()),
                &row.attributes,
            ),
            (row.last_updated_us, row.last_changed_us),
            context,
        );
    }

    /// Takes the entity's state away, without an event.
    pub(crate) fn forget(&mut self, entity: u32) {
        self.entities[entity as usize].current = None;
    }

    /// Returns `last_changed`.
    fn update(&mut self, entity: u32, new: &NewState<'_>, time_us: i64, context: &str) -> i64 {
        let last_changed_us = match &self.entities[entity as usize].current {
            Some(old) if !new.changed.unwrap_or(old.state.as_str() != new.state) => {
                old.last_changed_us
            }
            _ => time_us,
        };
        self.write(
            entity,
            (new.state, new.attributes),
            (time_us, last_changed_us),
            context,
        );
        last_changed_us
    }

    fn write(
        &mut self,
        entity: u32,
        (state, attributes): (&str, &Arc<str>),
        (last_updated_us, last_changed_us): (i64, i64),
        context: &str,
    ) {
        let held = &mut self.entities[entity as usize];
        let out = &mut held.json;
        out.clear();
        out.push_str(r#"{"entity_id":""#);
        out.push_str(&held.id);
        out.push_str(r#"","state":"#);
        push_string(out, state);
        out.push_str(r#","attributes":"#);
        out.push_str(attributes);
        out.push_str(r#","last_changed":""#);
        push_time(out, last_changed_us);
        if self.has_last_reported {
            out.push_str(r#"","last_reported":""#);
            push_time(out, last_updated_us);
        }
        out.push_str(r#"","last_updated":""#);
        push_time(out, last_updated_us);
        out.push_str(r#"","context":"#);
        out.push_str(context);
        out.push('}');
        held.current = Some(Current {
            state: state.into(),
            attributes: attributes.clone(),
            last_changed_us,
        });
    }
}

impl Batch {
    /// Appends an event's own text.
    pub(crate) fn push_verbatim(&mut self, json: &str, row: Row, record: Record) {
        self.text.push_str(json);
        self.ends.push(self.text.len());
        self.rows.push(row);
        self.records.push(record);
    }
}

/// The source's clock: the wall clock with an offset, strictly rising.
#[derive(Debug)]
pub(crate) struct Clock {
    pub(crate) offset_us: i64,
    last_us: i64,
}

impl Clock {
    pub(crate) fn new(offset_us: i64) -> Self {
        Self {
            offset_us,
            last_us: 0,
        }
    }

    /// Microseconds since the epoch, later than any before.
    pub(crate) fn tick_us(&mut self) -> i64 {
        self.last_us = (wall_clock_us() + self.offset_us).max(self.last_us + 1);
        self.last_us
    }
}

/// The wall clock in microseconds since the epoch.
pub(crate) fn wall_clock_us() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        })
}
