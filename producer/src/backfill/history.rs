//! Rows of Home Assistant's history as the events that they were. Pure.

use super::BackfilledEvent;
use ha_event::UtcMicros;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A compressed row of `history/history_during_period`. Times are seconds, exact to the microsecond
/// in a double.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(rename = "s")]
    state: String,
    #[serde(rename = "a", borrow, default)]
    attributes: Option<&'a RawValue>,
    #[serde(rename = "lu")]
    last_updated: f64,
    #[serde(rename = "lc", default)]
    last_changed: Option<f64>,
}

/// The events of an answer, each entity's in their order.
///
/// The old state of an entity's first row is not known, so that event says nothing of it: fields
/// that compare with it are left out, which no other way to the same point contradicts.
///
/// # Errors
/// JSON of another shape.
pub fn events_of(json: &[u8]) -> Result<Vec<BackfilledEvent>, serde_json::Error> {
    let entities: BTreeMap<String, Vec<Row<'_>>> = serde_json::from_slice(json)?;
    let mut events = Vec::new();
    for (entity_id, rows) in entities {
        let mut old: Option<String> = None;
        for row in rows {
            let time = micros(row.last_updated);
            let updated = rfc3339(time);
            // A removed entity's row has an empty state (recorder, `States.from_event`). An entity
            // may have an empty state too; but then it has attributes, or another row before it.
            let removed = row.state.is_empty() && row.attributes.is_none_or(|a| a.get() == "{}");
            let new = (!removed).then(|| {
                let changed = rfc3339(row.last_changed.map_or(time, micros));
                let attributes = row.attributes.map_or("{}", RawValue::get);
                state(&entity_id, &row.state, attributes, &changed, &updated)
            });
            if new.is_some() || old.is_some() {
                let json = event(&entity_id, old.as_deref(), new.as_deref(), &updated);
                events.push(BackfilledEvent {
                    entity_id: entity_id.clone(),
                    time,
                    json: json.into(),
                });
            }
            old = new;
        }
    }
    Ok(events)
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

fn micros(seconds: f64) -> UtcMicros {
    UtcMicros((seconds * 1e6).round() as i64)
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
            {"s":"","a":{},"lu":1795300131.000001},
            {"s":"2","a":{},"lu":1795300132.0}],
            "sensor.b":[{"s":"","a":{},"lu":1795300131.0}]}"#;
        let events = events_of(json).unwrap();
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
        assert!(parsed[2].new_state.is_none(), "an empty row is a removal");
        assert_eq!(parsed[2].source_time().unwrap(), events[2].time);
        assert!(parsed[3].old_state.is_none());
    }

    #[test]
    fn every_microsecond_survives_the_double() {
        for micros_ in
            (1_795_300_129_000_000_i64..1_795_300_129_002_000).chain([4_102_444_799_999_999])
        {
            let seconds: f64 = format!("{}.{:06}", micros_ / 1_000_000, micros_ % 1_000_000)
                .parse()
                .unwrap();
            assert_eq!(micros(seconds), UtcMicros(micros_));
        }
    }
}
