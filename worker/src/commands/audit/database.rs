//! What the audit reads from the database, row by row.

use anyhow::{Context, bail};
use ha_enrich::{BUS, EVENTS, Schema};
use ha_settings::{SinkChoice, TlsSettings};
use ha_sink::query::Series;
use ha_sink::{InfluxDb, Sink};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

const QUALITY: &str = "data_quality";

/// The longest that a reader of the embedded database waits for its writer.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// From `since_ns` on, before `until_ns`, nanoseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub since_ns: i64,
    pub until_ns: i64,
}

/// The number of a stored event; without one for backfilled and imported ones.
#[derive(Debug)]
pub(super) struct Number<'a> {
    pub instance: &'a str,
    pub time_ns: i64,
    pub number: Option<(u64, u64)>,
    pub is_backfilled: bool,
}

/// What the producer counted, once a minute.
#[derive(Debug)]
pub(super) struct Count<'a> {
    pub instance: &'a str,
    pub time_ns: i64,
    pub run_id: u64,
    pub sequence_last: u64,
    /// Events lost in this run until then, as the producer knows.
    pub lost: u64,
}

/// States by entity and time (microseconds since the epoch); `None` for a removal.
pub(super) type States = HashMap<String, HashMap<i64, Option<String>>>;

/// Where the points are.
#[derive(Debug)]
pub(super) enum Database {
    InfluxDb(Box<InfluxDb>),
    Sqlite(PathBuf),
}

impl Database {
    pub async fn open(choice: &SinkChoice, tls: &TlsSettings) -> anyhow::Result<Self> {
        if let SinkChoice::Sqlite(settings) = choice {
            // Only looked at: a file that is not there is not made.
            connect(&settings.path)?;
            return Ok(Self::Sqlite(settings.path.clone()));
        }
        match choice.open(&Schema::Native, tls).await? {
            Sink::InfluxDb(client) => Ok(Self::InfluxDb(Box::new(client))),
            _ => bail!("this sink stores nothing"),
        }
    }

    /// The numbers of all events, each measurement in the order of time.
    pub async fn numbers(
        &self,
        window: Window,
        instance: Option<&str>,
        mut on_number: impl FnMut(Number<'_>),
    ) -> anyhow::Result<()> {
        match self {
            Self::InfluxDb(client) => {
                let condition = condition(window, instance);
                let statement = format!(
                    "SELECT \"epoch\", \"sequence\", \"origin\" FROM \"{EVENTS}\", \"{BUS}\" \
                     WHERE {condition} GROUP BY \"instance\""
                );
                client
                    .query(&statement, |series| each_number(&series, &mut on_number))
                    .await?;
            }
            Self::Sqlite(path) => {
                let connection = connect(path)?;
                let mut statement = connection.prepare(
                    "SELECT json_extract(tags, '$.instance'), time_ns, \
                     json_extract(fields, '$.epoch'), json_extract(fields, '$.sequence'), \
                     json_extract(fields, '$.origin') FROM points \
                     WHERE measurement IN (?1, ?2) AND time_ns >= ?3 AND time_ns < ?4 \
                     ORDER BY time_ns",
                )?;
                let mut rows = statement.query((EVENTS, BUS, window.since_ns, window.until_ns))?;
                while let Some(row) = rows.next()? {
                    let home: String = row.get::<_, Option<String>>(0)?.unwrap_or_default();
                    if instance.is_some_and(|instance| instance != home) {
                        continue;
                    }
                    let number = |at| {
                        row.get::<_, Option<i64>>(at)
                            .map(|n| n.map(i64::cast_unsigned))
                    };
                    let origin: Option<String> = row.get(4)?;
                    on_number(Number {
                        instance: &home,
                        time_ns: row.get(1)?,
                        number: number(2)?.zip(number(3)?),
                        is_backfilled: origin.as_deref() == Some("backfill"),
                    });
                }
            }
        }
        Ok(())
    }

    /// What producers counted.
    pub async fn counts(
        &self,
        window: Window,
        instance: Option<&str>,
        mut on_count: impl FnMut(Count<'_>),
    ) -> anyhow::Result<()> {
        match self {
            Self::InfluxDb(client) => {
                let condition = condition(window, instance);
                let statement = format!(
                    "SELECT \"epoch\", \"sequence_last\", \"lost\" FROM \"{QUALITY}\" \
                     WHERE {condition} GROUP BY \"instance\""
                );
                client
                    .query(&statement, |series| each_count(&series, &mut on_count))
                    .await?;
            }
            Self::Sqlite(path) => {
                let connection = connect(path)?;
                let mut statement = connection.prepare(
                    "SELECT json_extract(tags, '$.instance'), time_ns, \
                     json_extract(fields, '$.epoch'), json_extract(fields, '$.sequence_last'), \
                     CAST(json_extract(fields, '$.lost') AS INTEGER) FROM points \
                     WHERE measurement = ?1 AND time_ns >= ?2 AND time_ns < ?3 ORDER BY time_ns",
                )?;
                let mut rows = statement.query((QUALITY, window.since_ns, window.until_ns))?;
                while let Some(row) = rows.next()? {
                    let home: String = row.get::<_, Option<String>>(0)?.unwrap_or_default();
                    let number = |at| {
                        row.get::<_, Option<i64>>(at)
                            .map(|n| n.map(i64::cast_unsigned))
                    };
                    if instance.is_some_and(|instance| instance != home) {
                        continue;
                    }
                    if let Some((run_id, sequence_last)) = number(2)?.zip(number(3)?) {
                        on_count(Count {
                            instance: &home,
                            time_ns: row.get(1)?,
                            run_id,
                            sequence_last,
                            lost: number(4)?.unwrap_or_default(),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Entities that have points in the window.
    pub async fn entities(
        &self,
        window: Window,
        instance: &str,
    ) -> anyhow::Result<BTreeSet<String>> {
        let mut entities = BTreeSet::new();
        match self {
            Self::InfluxDb(client) => {
                let condition = condition(window, Some(instance));
                let statement = format!(
                    "SELECT count(\"sequence\"), count(\"state\") FROM \"{EVENTS}\" \
                     WHERE {condition} GROUP BY \"entity_id\""
                );
                let on_series =
                    |series: Series| entities.extend(series.tags.get("entity_id").cloned());
                client.query(&statement, on_series).await?;
            }
            Self::Sqlite(path) => {
                let connection = connect(path)?;
                let mut statement = connection.prepare(
                    "SELECT DISTINCT json_extract(tags, '$.entity_id') FROM points \
                     WHERE measurement = ?1 AND time_ns >= ?2 AND time_ns < ?3 \
                     AND json_extract(tags, '$.instance') = ?4",
                )?;
                let values = (EVENTS, window.since_ns, window.until_ns, instance);
                let rows = statement.query_map(values, |row| row.get::<_, Option<String>>(0))?;
                for entity in rows {
                    entities.extend(entity?);
                }
            }
        }
        Ok(entities)
    }

    /// The states of some entities.
    pub async fn states(
        &self,
        window: Window,
        instance: &str,
        entities: &[&str],
    ) -> anyhow::Result<States> {
        let mut states = States::new();
        let mut add = |entity: &str, time_ns: i64, state: Option<&str>, removed: bool| {
            if state.is_some() || removed {
                let of = states.entry(entity.to_owned()).or_default();
                of.insert(time_ns.div_euclid(1_000), state.map(str::to_owned));
            }
        };
        match self {
            Self::InfluxDb(client) => {
                let condition = condition(window, Some(instance));
                let any: Vec<_> = entities
                    .iter()
                    .map(|entity| format!("\"entity_id\" = {}", text(entity)))
                    .collect();
                let statement = format!(
                    "SELECT \"state\", \"removed\" FROM \"{EVENTS}\" WHERE {condition} AND ({}) \
                     GROUP BY \"entity_id\"",
                    any.join(" OR ")
                );
                let on_series = |series: Series| {
                    let Some(entity) = series.tags.get("entity_id") else {
                        return;
                    };
                    for row in &series.values {
                        let Some(time_ns) = row.first().and_then(Value::as_i64) else {
                            continue;
                        };
                        let state = row.get(1).and_then(Value::as_str);
                        let removed = row.get(2).and_then(Value::as_bool).unwrap_or_default();
                        add(entity, time_ns, state, removed);
                    }
                };
                client.query(&statement, on_series).await?;
            }
            Self::Sqlite(path) => {
                let connection = connect(path)?;
                let mut statement = connection.prepare(
                    "SELECT json_extract(tags, '$.entity_id'), time_ns, \
                     json_extract(fields, '$.state'), json_extract(fields, '$.removed') FROM points \
                     WHERE measurement = ?1 AND time_ns >= ?2 AND time_ns < ?3 \
                     AND json_extract(tags, '$.instance') = ?4",
                )?;
                let wanted: BTreeSet<&str> = entities.iter().copied().collect();
                let mut rows =
                    statement.query((EVENTS, window.since_ns, window.until_ns, instance))?;
                while let Some(row) = rows.next()? {
                    let entity: String = row.get::<_, Option<String>>(0)?.unwrap_or_default();
                    if wanted.contains(entity.as_str()) {
                        let state: Option<String> = row.get(2)?;
                        let removed: Option<bool> = row.get(3)?;
                        add(
                            &entity,
                            row.get(1)?,
                            state.as_deref(),
                            removed.unwrap_or_default(),
                        );
                    }
                }
            }
        }
        Ok(states)
    }
}

fn connect(path: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| format!("SQLITE_PATH {} cannot be read", path.display()))?;
    connection.busy_timeout(BUSY_MAX)?;
    Ok(connection)
}

fn condition(window: Window, instance: Option<&str>) -> String {
    let Window { since_ns, until_ns } = window;
    let home = instance.map(|name| format!(" AND \"instance\" = {}", text(name)));
    format!(
        "time >= {since_ns} AND time < {until_ns}{}",
        home.unwrap_or_default()
    )
}

/// An InfluxQL string.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn each_number(series: &Series, on_number: &mut impl FnMut(Number<'_>)) {
    let instance = series.tags.get("instance").map_or("", String::as_str);
    for row in &series.values {
        let number = |at: usize| row.get(at).and_then(Value::as_u64);
        on_number(Number {
            instance,
            time_ns: row.first().and_then(Value::as_i64).unwrap_or_default(),
            number: number(1).zip(number(2)),
            is_backfilled: row.get(3).and_then(Value::as_str) == Some("backfill"),
        });
    }
}

fn each_count(series: &Series, on_count: &mut impl FnMut(Count<'_>)) {
    let instance = series.tags.get("instance").map_or("", String::as_str);
    for row in &series.values {
        let number = |at: usize| row.get(at).and_then(Value::as_u64);
        if let Some((run_id, sequence_last)) = number(1).zip(number(2)) {
            let time_ns = row.first().and_then(Value::as_i64).unwrap_or_default();
            // A count is a whole number, whatever type its field has.
            let lost = row.get(3).and_then(Value::as_f64).unwrap_or_default() as u64;
            on_count(Count {
                instance,
                time_ns,
                run_id,
                sequence_last,
                lost,
            });
        }
    }
}
