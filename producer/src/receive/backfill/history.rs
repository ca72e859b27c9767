//! Rows of Home Assistant's history as the events that they were. Pure.

use super::event::BackfilledEvent;
use ha_event::UtcMicros;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// A compressed row of `history/history_during_period`.
#[derive(Deserialize)]
struct Row<'a> {
    /// Null where the entity was removed (recorder, `_process_state_changed_event_into_session`).
    #[serde(rename = "s")]
    state: Option<String>,
    #[serde(rename = "a", borrow, default)]
    attributes: Option<&'a RawValue>,
    #[serde(rename = "lu", deserialize_with = "micros")]
    last_updated: UtcMicros,
    #[serde(rename = "lc", default, deserialize_with = "optional_micros")]
    last_changed: Option<UtcMicros>,
}

/// An answer: each entity's rows, in their order. A row is read by itself, so that one that cannot
/// be read costs no other.
type Rows<'a> = BTreeMap<String, Vec<&'a RawValue>>;

fn row(json: &RawValue) -> Option<Row<'_>> {
    serde_json::from_str(json.get()).ok()
}

/// What stands in an answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// Its events, each entity's in their order.
    pub events: Vec<BackfilledEvent>,
    /// Entities whose first row is a removal and whose state before it is not known: their events are
    /// not among those above, because a removal's point carries what that state said. Ask for the
    /// states at the start.
    pub removed_first: BTreeSet<String>,
    /// The last state of each entity that has events above; none of one that was removed.
    pub last: BTreeMap<String, Option<String>>,
    /// Rows that could not be read. They have no event above.
    pub unreadable: u64,
}

/// The states at the start of a period, by entity.
pub type StartStates = BTreeMap<String, String>;

/// The events of an answer. `before` are the states at its start, as far as they are known.
///
/// Where the old state of an entity's first row is not known, that event says nothing of it: fields
/// that compare with it are left out, which no other way to the same point contradicts.
///
/// # Errors
/// JSON of another shape.
pub fn events_of(json: &[u8], before: &StartStates) -> Result<Answer, serde_json::Error> {
    let entities: Rows<'_> = serde_json::from_slice(json)?;
    let mut answer = Answer::default();
    for (entity_id, rows) in entities {
        let mut old = before.get(&entity_id).cloned();
        let first = rows.first().and_then(|json| row(json));
        if old.is_none() && first.is_some_and(|row| row.state.is_none()) {
            answer.removed_first.insert(entity_id);
            continue;
        }
        for json in rows {
            let Some(row) = row(json) else {
                answer.unreadable += 1;
                // What the state was after this row is not known.
                old = None;
                continue;
            };
            let time = row.last_updated;
            let updated = rfc3339(time);
            let new = row.state.map(|text| {
                let changed = rfc3339(row.last_changed.unwrap_or(time));
                let attributes = row.attributes.map_or("{}", RawValue::get);
                state(&entity_id, &text, attributes, &changed, &updated)
            });
            // Removed twice: the second time there was nothing.
            if new.is_some() || old.is_some() {
                let json = event(&entity_id, old.as_deref(), new.as_deref(), &updated);
                answer.events.push(BackfilledEvent {
                    entity_id: entity_id.clone(),
                    time,
                    json: json.into(),
                });
            }
            old = new;
        }
        answer.last.insert(entity_id, old);
    }
    Ok(answer)
}

impl Answer {
    /// Puts its last states into those before the next answer.
    pub fn carry(self, states: &mut StartStates) -> Vec<BackfilledEvent> {
        for (entity_id, last) in self.last {
            match last {
                Some(state) => states.insert(entity_id, state),
                None => states.remove(&entity_id),
            };
        }
        self.events
    }
}

/// The states that an answer with `include_start_time_state` begins with. Their times are made up
/// (the start of the period), so they are left out.
///
/// # Errors
/// JSON of another shape.
pub fn start_states_of(json: &[u8]) -> Result<StartStates, serde_json::Error> {
    let entities: Rows<'_> = serde_json::from_slice(json)?;
    let first = entities.into_iter().filter_map(|(entity_id, rows)| {
        let row = row(rows.into_iter().next()?)?;
        let attributes = row.attributes.map_or("{}", RawValue::get);
        let state = format!(
            r#"{{"entity_id":{},"state":{},"attributes":{attributes}}}"#,
            text(&entity_id),
            text(&row.state?)
        );
        Some((entity_id, state))
    });
    Ok(first.collect())
}

/// A state object.
pub(super) fn state(
    entity_id: &str,
    state: &str,
    attributes: &str,
    last_changed: &str,
    last_updated: &str,
) -> String {
    format!(
        r#"{{"entity_id":{},"state":{},"attributes":{attributes},"last_changed":{},"last_updated":{}}}"#,
        text(entity_id),
        text(state),
        text(last_changed),
        text(last_updated)
    )
}

/// A `state_changed` event.
pub(super) fn event(
    entity_id: &str,
    old: Option<&str>,
    new: Option<&str>,
    time_fired: &str,
) -> String {
    format!(
        r#"{{"event_type":"state_changed","data":{{"entity_id":{},"old_state":{},"new_state":{}}},"origin":"LOCAL","time_fired":{}}}"#,
        text(entity_id),
        old.unwrap_or("null"),
        new.unwrap_or("null"),
        text(time_fired)
    )
}

fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn micros<'de, D: Deserializer<'de>>(seconds: D) -> Result<UtcMicros, D::Error> {
    let seconds = f64::deserialize(seconds)?;
    UtcMicros::from_seconds(seconds)
        .ok_or_else(|| D::Error::custom(format_args!("{seconds} is no time")))
}

fn optional_micros<'de, D: Deserializer<'de>>(seconds: D) -> Result<Option<UtcMicros>, D::Error> {
    let Some(seconds) = Option::<f64>::deserialize(seconds)? else {
        return Ok(None);
    };
    Ok(UtcMicros::from_seconds(seconds))
}

/// As Home Assistant writes it.
fn rfc3339(time: UtcMicros) -> String {
    time.to_string().replace('Z', "+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_event::{Event, parse};

    #[test]
    fn rows_become_the_events_that_they_were() {
        let json = br#"{"sensor.a":[
            {"s":"1","a":{"u":"W \"x\""},"lu":1795300129.118132},
            {"s":"1","a":{"u":"V"},"lu":1795300130.5,"lc":1795300129.118132},
            {"s":null,"a":{},"lu":1795300131.000001},
            {"s":"","a":{},"lu":1795300132.0}],
            "sensor.b":[{"s":null,"a":{},"lu":1795300131.0}]}"#;
        let answer = events_of(json, &StartStates::new()).unwrap();
        assert_eq!(answer.removed_first, BTreeSet::from(["sensor.b".into()]));
        let events = answer.events;
        let times: Vec<_> = events
            .iter()
            .map(|event| event.time.0 % 100_000_000)
            .collect();
        assert_eq!(times, [29_118_132, 30_500_000, 31_000_001, 32_000_000]);
        let parsed: Vec<_> = events
            .iter()
            .map(|event| match parse(&event.json).unwrap() {
                Event::StateChanged(event) => *event,
                Event::Bus(_) => panic!("bus event"),
            })
            .collect();
        assert!(parsed[0].old_state.is_none());
        assert_eq!(parsed[0].new_state.as_ref().unwrap().state, "1");
        let updated = parsed[1].new_state.as_ref().unwrap();
        assert_eq!(
            updated.last_changed,
            parsed[0].new_state.as_ref().unwrap().last_changed
        );
        assert_eq!(
            parsed[1]
                .old_state
                .as_ref()
                .unwrap()
                .attributes
                .text("u")
                .unwrap(),
            "W \"x\""
        );
        assert!(parsed[2].new_state.is_none(), "a row of null is a removal");
        assert_eq!(parsed[2].source_time().unwrap(), events[2].time);
        assert!(parsed[3].old_state.is_none());
        assert_eq!(parsed[3].new_state.as_ref().unwrap().state, "");
        assert_eq!(answer.last.keys().collect::<Vec<_>>(), ["sensor.a"]);
    }

    #[test]
    fn the_next_period_goes_on_from_the_last_states_of_this_one() {
        let mut before = StartStates::new();
        let mut old_states = Vec::new();
        for json in [
            r#"{"sensor.a":[{"s":"1","a":{"u":"V"},"lu":1795300130.0}],"sensor.b":[{"s":"1","lu":1795300130.0}]}"#,
            r#"{"sensor.a":[{"s":"2","a":{"u":"V"},"lu":1795300131.0}],"sensor.b":[{"s":null,"lu":1795300131.0}]}"#,
            r#"{"sensor.a":[{"s":null,"a":{},"lu":1795300132.0}],"sensor.b":[{"s":"3","lu":1795300132.0}]}"#,
        ] {
            let answer = events_of(json.as_bytes(), &before).unwrap();
            assert!(answer.removed_first.is_empty(), "{json}");
            for event in &answer.events {
                let Event::StateChanged(event) = parse(&event.json).unwrap() else {
                    panic!("bus event")
                };
                old_states.push(event.old_state.as_ref().map(|old| {
                    (
                        old.state.clone().into_owned(),
                        old.last_updated.unwrap().0 % 100_000_000,
                    )
                }));
            }
            answer.carry(&mut before);
        }
        let old = |state: &str, at| Some((state.to_owned(), at));
        assert_eq!(
            old_states,
            [
                None,
                None,
                old("1", 30_000_000),
                old("1", 30_000_000),
                old("2", 31_000_000),
                None
            ]
        );
        assert_eq!(before.keys().collect::<Vec<_>>(), ["sensor.b"]);
    }

    #[test]
    fn a_removal_is_told_with_the_state_before_the_period() {
        let start = br#"{"sensor.b":[{"s":"7","a":{"device_class":"power"},"lu":1795300130.0},
            {"s":null,"a":{},"lu":1795300131.0}],"sensor.c":[{"s":null,"a":{},"lu":1795300131.0}]}"#;
        let before = start_states_of(start).unwrap();
        assert_eq!(before.len(), 1);
        let rows = br#"{"sensor.b":[{"s":null,"a":{},"lu":1795300131.0},{"s":null,"a":{},"lu":1795300132.0}]}"#;
        let answer = events_of(rows, &before).unwrap();
        assert!(answer.removed_first.is_empty());
        assert_eq!(answer.events.len(), 1);
        let Event::StateChanged(event) = parse(&answer.events[0].json).unwrap() else {
            panic!("bus event")
        };
        let old = event.old_state.as_ref().unwrap();
        assert_eq!(old.attributes.text("device_class").unwrap(), "power");
        assert_eq!((old.last_changed, old.last_updated), (None, None));
        assert_eq!(event.source_time().unwrap(), answer.events[0].time);
    }

    #[test]
    fn a_row_of_home_assistant_2026_11_keeps_its_microsecond() {
        // Rounded as a whole it would be one microsecond later, and so another point.
        let json =
            br#"{"sensor.a":[{"s":"1","a":{},"lu":1795300129.7875555,"lc":1795300129.5782404}]}"#;
        let answer = events_of(json, &StartStates::new()).unwrap();
        assert_eq!(answer.events[0].time, UtcMicros(1_795_300_129_787_555));
        let Event::StateChanged(event) = parse(&answer.events[0].json).unwrap() else {
            panic!("bus event")
        };
        let new = event.new_state.as_ref().unwrap();
        assert_eq!(new.last_updated, Some(UtcMicros(1_795_300_129_787_555)));
        assert_eq!(new.last_changed, Some(UtcMicros(1_795_300_129_578_240)));
    }

    #[test]
    fn a_row_that_cannot_be_read_costs_itself() {
        let json = br#"{"sensor.a":[{"s":"1","lu":1.0},{"s":"2","lu":"odd"},{"s":"3","lu":3.0},7],
            "sensor.b":[{"s":"1","lu":1e300},{"s":"2","lu":2.0}]}"#;
        let answer = events_of(json, &StartStates::new()).unwrap();
        let times: Vec<_> = answer.events.iter().map(|event| event.time.0).collect();
        assert_eq!(
            (times, answer.unreadable),
            (vec![1_000_000, 3_000_000, 2_000_000], 3)
        );
        let Event::StateChanged(event) = parse(&answer.events[1].json).unwrap() else {
            panic!("bus event")
        };
        assert!(event.old_state.is_none(), "the state before is not known");
    }
}
