//! The file's layout and its versions, and the views that make it pleasant to query.

use std::collections::HashSet;

use ha_point::Row;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde_json::{Map, Value};

use super::failure::Failure;

/// Step `n` makes layout `n + 1` of layout `n`; a new layout is a new step at the end, and no step
/// ever changes. The number of the layout is the file's `user_version`.
///
/// Layout 1. A table with a rowid, and not one ordered by its key: rows of half a kilobyte would
/// make poor inner pages of a tree, and what is newest stands together at the end, where it is
/// asked for. The time has an index for retention and for questions about the last hours.
const STEPS: &[&str] = &["CREATE TABLE points (
        measurement TEXT NOT NULL,
        tags TEXT NOT NULL CHECK (json_valid(tags)),
        fields TEXT NOT NULL CHECK (json_valid(fields)),
        time_ns INTEGER NOT NULL,
        UNIQUE (measurement, tags, time_ns)
    );
    CREATE INDEX points_by_time ON points (time_ns);"];

/// More measurements than this get no view of their own (the schema of Home Assistant's own
/// integration may make one an entity); the table has everything.
const VIEWS_MAX: usize = 500;

/// Columns of the product's own measurements: tags and the usual fields.
const KNOWN: &[(&str, &[&str], &[&str])] = &[
    (
        "home_assistant_events",
        &["instance", "domain", "entity_id", "device_class"],
        &[
            "state",
            "value",
            "available",
            "removed",
            "duration_in_state_s",
            "weather_temperature",
            "weather_humidity",
            "weather_condition",
            "quality_score",
            "quality_flags",
            "origin",
            "epoch",
            "sequence",
            "enriched",
        ],
    ),
    (
        "home_assistant_entities",
        &["instance", "entity_id"],
        &[
            "area",
            "floor",
            "device",
            "manufacturer",
            "model",
            "integration",
            "labels",
            "friendly_name",
            "unit",
        ],
    ),
    (
        "home_assistant_bus",
        &["instance", "event_type"],
        &["data", "context_id", "context_parent_id", "context_user_id"],
    ),
    (
        "data_quality",
        &["instance"],
        &[
            "received",
            "filtered",
            "settled",
            "lost",
            "capture",
            "score",
            "epoch",
            "sequence_last",
        ],
    ),
];

/// Creates or upgrades the layout.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Failure> {
    migrate_to(connection, STEPS)
}

fn migrate_to(connection: &mut Connection, steps: &[&str]) -> Result<(), Failure> {
    let known = i32::try_from(steps.len()).unwrap_or(i32::MAX);
    // Two processes may open a new file at once: the second must see what the first made.
    if version(connection)? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    if found > known {
        return Err(Failure::Newer { found, known });
    }
    if found == 0 && holds_anything(&transaction)? {
        return Err(Failure::Foreign);
    }
    let done = usize::try_from(found).map_err(|_| Failure::Foreign)?;
    for step in &steps[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn holds_anything(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| {
        row.get(0)
    })
}

/// The measurements whose view was looked after.
#[derive(Debug, Default)]
pub(super) struct Views {
    measurements: HashSet<String>,
}

impl Views {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement =
            connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'view'")?;
        let measurements = statement
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(Self { measurements })
    }

    pub(super) fn knows(&self, measurement: &str) -> bool {
        self.measurements.contains(measurement) || self.measurements.len() >= VIEWS_MAX
    }

    pub(super) fn add(&mut self, measurement: &str) {
        self.measurements.insert(measurement.to_owned());
    }
}

/// Makes the view of a measurement that appears for the first time, unless its name cannot be a
/// view's (names are compared without case, and some are taken).
pub(super) fn create_view(transaction: &Transaction<'_>, first: &Row) -> rusqlite::Result<()> {
    let name = first.measurement.as_str();
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || lower.starts_with("sqlite_") || name.contains(char::is_control) {
        return Ok(());
    }
    let taken = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE lower(name) = ?1)";
    if transaction.query_row(taken, [&lower], |row| row.get(0))? {
        return Ok(());
    }
    transaction.execute_batch(&view_statement(first))
}

fn view_statement(first: &Row) -> String {
    let known = KNOWN
        .iter()
        .find(|(measurement, ..)| *measurement == first.measurement);
    let (tags, fields) = match known {
        Some((_, tags, fields)) => {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            (owned(tags), owned(fields))
        }
        None => (keys(&first.tags), keys(&first.fields)),
    };
    let mut columns = vec![
        "strftime('%Y-%m-%dT%H:%M:%S', time_ns / 1000000000, 'unixepoch') \
         || printf('.%06dZ', time_ns / 1000 % 1000000) AS time"
            .to_owned(),
    ];
    let mut taken: HashSet<String> = ["time", "time_ns", "tags", "fields"]
        .map(str::to_owned)
        .into();
    for (json, names) in [("tags", tags), ("fields", fields)] {
        for name in names {
            // A path in quotes has no way to write a quote, and two columns cannot share a name.
            if name.contains(['"', '\\']) || name.contains(char::is_control) {
                continue;
            }
            if taken.insert(name.to_lowercase()) {
                let path = text(&format!("$.\"{name}\""));
                columns.push(format!(
                    "json_extract({json}, {path}) AS {}",
                    identifier(&name)
                ));
            }
        }
    }
    format!(
        "CREATE VIEW {} AS SELECT {}, time_ns, tags, fields FROM points WHERE measurement = {}",
        identifier(&first.measurement),
        columns.join(", "),
        text(&first.measurement),
    )
}

fn keys(json: &str) -> Vec<String> {
    let object: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    object.into_iter().map(|(name, _)| name).collect()
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_older_layout_is_upgraded_with_what_it_holds() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection
            .execute_batch("INSERT INTO points VALUES ('m', '{}', '{}', 7)")
            .unwrap();
        let next = "ALTER TABLE points ADD COLUMN note TEXT;";
        migrate_to(&mut connection, &[STEPS[0], next]).unwrap();
        let kept: (i64, Option<String>) = connection
            .query_row("SELECT time_ns, note FROM points", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(kept, (7, None));
        assert!(matches!(
            migrate(&mut connection),
            Err(Failure::Newer { found: 2, known: 1 })
        ));
    }
}
