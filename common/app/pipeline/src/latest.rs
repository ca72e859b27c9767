//! The latest events, for people who look: a small ring, and so few events a second read for it
//! that a busy stream does not notice.

use ha_event::Event;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Events kept.
const EVENTS_MAX: usize = 20;

/// Events read in one second; a quiet home shows every one of its events, a busy fleet a sample.
const READ_PER_SECOND_MAX: u32 = 20;

/// Home Assistant's own limit of a state is 255; a page wants less.
const TEXT_CHARS_MAX: usize = 120;

/// What is kept of one event. The texts are Home Assistant's: escape them when they are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestEvent {
    /// The entity; the event's type where it is of another type than `state_changed`.
    pub entity_id: String,
    /// The new state, at most 120 characters; `None` when the entity was removed, and for other
    /// types of events.
    pub state: Option<String>,
    /// Source time, milliseconds since 1970.
    pub time_ms: Option<i64>,
}

/// The ring; clones share it.
#[derive(Debug, Clone, Default)]
pub struct LatestEvents(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<LatestEvent>,
    second: i64,
    read: u32,
}

impl LatestEvents {
    /// Takes a look at an event, if this second's allowance is not used up. What cannot be read is
    /// skipped: it is a dead letter elsewhere.
    pub fn offer(&self, now_ns: i64, json: &[u8]) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now_ns / 1_000_000_000;
        if ring.second != second {
            (ring.second, ring.read) = (second, 0);
        }
        if ring.read >= READ_PER_SECOND_MAX {
            return;
        }
        ring.read += 1;
        let Some(event) = read(json) else { return };
        ring.events.truncate(EVENTS_MAX - 1);
        ring.events.push_front(event);
    }

    /// The events, the latest first.
    #[must_use]
    pub fn events(&self) -> Vec<LatestEvent> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.events.iter().cloned().collect()
    }
}

fn read(json: &[u8]) -> Option<LatestEvent> {
    let short = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect::<String>();
    let millis = |time: ha_event::UtcMicros| time.0 / 1_000;
    Some(match ha_event::parse(json).ok()? {
        Event::StateChanged(event) => LatestEvent {
            entity_id: short(&event.entity_id),
            state: event.new_state.as_ref().map(|state| short(&state.state)),
            time_ms: event.source_time().map(millis),
        },
        Event::Bus(event) => LatestEvent {
            entity_id: short(&event.event_type),
            state: None,
            time_ms: Some(millis(event.time_fired)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(entity: &str, state: &str) -> Vec<u8> {
        serde_json::json!({
            "event_type": "state_changed", "time_fired": "1970-01-01T00:00:02+00:00",
            "data": {"entity_id": entity, "old_state": null, "new_state": {
                "entity_id": entity, "state": state, "attributes": {},
                "last_changed": "1970-01-01T00:00:01+00:00", "last_updated": "1970-01-01T00:00:01+00:00",
            }},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn the_latest_come_first_and_a_second_has_its_allowance() {
        let latest = LatestEvents::default();
        latest.offer(0, &event("sensor.a", "1"));
        latest.offer(0, b"not an event");
        latest.offer(0, &event("sensor.b", &"x".repeat(200)));
        let events = latest.events();
        assert_eq!(events[0].entity_id, "sensor.b");
        assert_eq!(events[0].state, Some("x".repeat(TEXT_CHARS_MAX)));
        assert_eq!(events[1].time_ms, Some(1_000));

        for number in 0..100 {
            latest.offer(0, &event("sensor.c", &number.to_string()));
        }
        assert_eq!(latest.events()[0].state.as_deref(), Some("16"));
        for _ in 0..10 {
            latest.offer(1_000_000_000, &event("sensor.d", "<script>"));
        }
        assert_eq!(latest.events().len(), EVENTS_MAX);
        assert_eq!(latest.events()[0].state.as_deref(), Some("<script>"));
    }
}
