//! The house: entities that change as real ones do.
//!
//! Kinds and their shares follow a capture of a real Home Assistant (2024.3.3, demo integration and
//! helpers), so that an event's JSON is about as long as there: 1,040 bytes in the median.

mod attributes;
mod body;
mod catalogue;
mod entity;
#[cfg(test)]
mod tests;

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::{
    json::{ULID_CHARS, push_ulid},
    machine::{Batch, NewState, StateMachine},
    options::HouseOptions,
};
pub(crate) use catalogue::ROOMS;
pub(crate) use entity::Entity;

/// The user who presses the buttons in this house.
const USER_ID: &str = "f4af3b77aa174a42ae2b7783b390e599";

/// The entities of the house, without their current states (the state machine's).
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) entities: Vec<Entity>,
    /// Positions in `entities`, each as often as its share of the events demands.
    wheel: Vec<u32>,
    random: SmallRng,
    lifecycle_events: bool,
    state: String,
    attributes: String,
    context: String,
}

impl House {
    pub(crate) fn new(options: &HouseOptions) -> Self {
        let mut random = SmallRng::seed_from_u64(options.seed);
        let (entities, wheel) = catalogue::furnish(options.entities, &mut random);
        Self {
            entities,
            wheel,
            random,
            lifecycle_events: options.lifecycle_events,
            state: String::new(),
            attributes: String::new(),
            context: String::new(),
        }
    }

    /// Gives every entity its first state, a little apart in time and before now.
    pub(crate) fn move_in(
        &mut self,
        machine: &mut StateMachine,
        now_us: i64,
    ) -> Vec<crate::history::Row> {
        let first_us = now_us - 1_000 * (self.entities.len() as i64 + 1);
        let mut rows = Vec::with_capacity(self.entities.len());
        for position in 0..self.entities.len() {
            let time_us = first_us + 1_000 * position as i64;
            self.push_context(time_us, false);
            let entity = &mut self.entities[position];
            entity.index = machine.intern(&entity.id);
            let attributes = entity.describe(time_us, &mut self.state, &mut self.attributes);
            let new = NewState {
                state: &self.state,
                attributes: &attributes,
                changed: None,
            };
            rows.push(machine.begin(entity.index, &new, time_us, &self.context));
        }
        rows
    }

    /// Lets one entity change and appends the event. Does nothing in a house without entities.
    pub(crate) fn step(&mut self, machine: &mut StateMachine, time_us: i64, batch: &mut Batch) {
        if self.wheel.is_empty() {
            return;
        }
        let position = self.wheel[self.random.random_range(0..self.wheel.len())] as usize;
        let by_user = self.entities[position].body.is_operated() && self.random.random_ratio(2, 3);
        self.push_context(time_us, by_user);
        let entity = &mut self.entities[position];
        if self.lifecycle_events {
            let current = machine.current(entity.index).map(|(state, _)| state);
            let fate = match self.random.random_range(0..2_000_u32) {
                0 => Some(None),
                1..=5 => Some(Some("unavailable")),
                6 => Some(Some("unknown")),
                _ => None,
            };
            if let Some(state) = fate.filter(|state| *state != current) {
                let attributes = &entity.fixed;
                let new = state.map(|state| NewState {
                    state,
                    attributes,
                    changed: None,
                });
                machine.change(entity.index, new.as_ref(), time_us, &self.context, batch);
                return;
            }
        }
        entity.body.step(&mut self.random);
        let attributes = entity.describe(time_us, &mut self.state, &mut self.attributes);
        let new = NewState {
            state: &self.state,
            attributes: &attributes,
            changed: None,
        };
        machine.change(entity.index, Some(&new), time_us, &self.context, batch);
    }

    fn push_context(&mut self, time_us: i64, by_user: bool) {
        let out = &mut self.context;
        out.clear();
        out.push_str(r#"{"id":""#);
        push_ulid(out, (time_us / 1_000).cast_unsigned(), self.random.random());
        debug_assert_eq!(out.len(), 7 + ULID_CHARS);
        out.push_str(r#"","parent_id":null,"user_id":"#);
        if by_user {
            out.push('"');
            out.push_str(USER_ID);
            out.push_str("\"}");
        } else {
            out.push_str("null}");
        }
    }
}
