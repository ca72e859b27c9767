//! What Home Assistant's recorder kept and what the database holds, in one shape.

use std::collections::BTreeMap;
use std::path::Path;

use ha_event::UtcMicros;
use ha_kit::Place;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// States by entity and time (microseconds since the epoch); none for a removal.
pub type States = BTreeMap<(String, i64), Option<String>>;

/// Every row of the recorder's own file from a time on, before another. The file, not the API: the
/// API gives only what it is asked for by name.
pub fn of_recorder(file: &Path, since_us: i64, until_us: i64) -> States {
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    database
        .busy_timeout(std::time::Duration::from_secs(10))
        .unwrap();
    let mut statement = database
        .prepare(
            "SELECT states_meta.entity_id, states.state, states.last_updated_ts \
             FROM states JOIN states_meta ON states.metadata_id = states_meta.metadata_id \
             WHERE states.last_updated_ts >= ?1 - 1 AND states.last_updated_ts <= ?2 + 1",
        )
        .unwrap();
    let window = (since_us as f64 / 1e6, until_us as f64 / 1e6);
    let rows = statement.query_map(window, |row| {
        let seconds: f64 = row.get(2)?;
        let UtcMicros(time_us) = UtcMicros::from_seconds(seconds).unwrap();
        Ok(((row.get(0)?, time_us), row.get(1)?))
    });
    let mut states = States::new();
    for row in rows.unwrap() {
        let (key, state) = row.unwrap();
        if (since_us..until_us).contains(&key.1) {
            assert!(
                states.insert(key.clone(), state).is_none(),
                "two rows of {key:?}"
            );
        }
    }
    states
}

/// What the database holds of the same time.
#[derive(Debug, Default)]
pub struct InDatabase {
    pub states: States,
    /// Points of the same entity and time in another series, and numbers that are not their state's.
    pub wrong: Vec<String>,
    /// Points that gap fill brought.
    pub backfilled: usize,
}

/// Every point of one home.
pub async fn of_database(place: &Place, since_us: i64, until_us: i64) -> InDatabase {
    let statement = format!(
        "SELECT state, removed, value, origin FROM home_assistant_events \
         WHERE time >= {}000 AND time < {}000 GROUP BY entity_id, device_class",
        since_us, until_us
    );
    let answer = place
        .services
        .query(&place.database, &statement)
        .await
        .unwrap();
    let mut found = InDatabase::default();
    let series = answer.pointer("/results/0/series");
    for series in series.and_then(Value::as_array).into_iter().flatten() {
        let entity = series["tags"]["entity_id"].as_str().unwrap();
        for row in series["values"].as_array().unwrap() {
            let time_ns = row[0].as_i64().unwrap();
            let state = row[1].as_str().map(str::to_owned);
            let wrong = &mut found.wrong;
            if time_ns % 1_000 != 0 {
                wrong.push(format!("{entity} at {time_ns}: not a whole microsecond"));
            }
            if state.is_none() != (row[2] == true) {
                wrong.push(format!("{entity} at {time_ns}: {row}"));
            }
            if entity.starts_with("sensor.") {
                let number = state.as_deref().and_then(|state| state.parse::<f64>().ok());
                let number = number.filter(|number| number.is_finite());
                if row[3].as_f64() != number {
                    wrong.push(format!("{entity} at {time_ns}: value of {row}"));
                }
            }
            found.backfilled += usize::from(row[4] == "backfill");
            let key = (entity.to_owned(), time_ns / 1_000);
            if found.states.insert(key.clone(), state).is_some() {
                found.wrong.push(format!("two points of {key:?}"));
            }
        }
    }
    found
}

/// In words, what is in the one and not, or not the same, in the other; empty if they are equal.
pub fn differences(recorder: &States, database: &States) -> Vec<String> {
    let missing = recorder
        .iter()
        .filter_map(|(key, state)| match database.get(key) {
            Some(stored) if stored == state => None,
            Some(stored) => Some(format!("{key:?} is {state:?}, stored as {stored:?}")),
            None => Some(format!("{key:?} {state:?} is missing")),
        });
    let invented = database
        .iter()
        .filter(|(key, _)| !recorder.contains_key(*key))
        .map(|(key, state)| format!("{key:?} {state:?} is stored, and not in the history"));
    missing.chain(invented).collect()
}
