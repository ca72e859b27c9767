//! Reading back what is stored, a point at a time.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ha_sink::InfluxDb;
use ha_sink::query::Series;
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;
use serde_json::Value;

pub(crate) const MEASUREMENT: &str = "home_assistant_events";
const BUSY_MAX: Duration = Duration::from_secs(10);

/// Where the points of a run are.
#[derive(Debug, Clone)]
pub enum Database {
    /// InfluxDB.
    InfluxDb {
        /// The client; its bucket is the run's.
        client: Arc<InfluxDb>,
        /// Only these points are looked at; `None`: the whole database is the run's.
        instances: Option<Instances>,
    },
    /// The embedded database, all of it.
    Sqlite(PathBuf),
    /// Points are discarded.
    Nowhere,
}

/// Homes, by the tag `instance` of their points. Names of instances hold no quotes.
#[derive(Debug, Clone)]
pub enum Instances {
    /// One.
    One(String),
    /// All whose name is this, a hyphen and a number.
    Numbered(String),
}

/// The name of one of several homes.
pub(crate) fn numbered_instance(instance: &str, at: usize) -> String {
    format!("{instance}-{}", at + 1)
}

/// One stored point of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPoint<'a> {
    /// Tag `entity_id`.
    pub entity_id: &'a str,
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    /// Field `state`.
    pub state: Option<Cow<'a, str>>,
    /// Field `removed`.
    pub removed: bool,
}

/// Half open, in nanoseconds since the epoch; an open end has no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeRange {
    /// First.
    pub from_ns: Option<i64>,
    /// First behind.
    pub to_ns: Option<i64>,
}

impl Database {
    /// This database, limited to the points of one of several homes.
    #[must_use]
    pub fn of_home(&self, instance: &str) -> Self {
        match self {
            Self::InfluxDb { client, .. } => Self::InfluxDb {
                client: Arc::clone(client),
                instances: Some(Instances::One(instance.to_owned())),
            },
            other => other.clone(),
        }
    }

    /// Number of points of live events: cheap, to see whether everything is stored yet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn live_points(&self) -> anyhow::Result<u64> {
        match self {
            Self::InfluxDb { client, instances } => {
                let condition = where_clause(instances.as_ref(), TimeRange::default());
                let statement =
                    format!("SELECT count(\"sequence\") FROM \"{MEASUREMENT}\"{condition}");
                let mut count = 0;
                let on_series = |series: Series| {
                    let first = series.values.first().and_then(|row| row.get(1));
                    count += first.and_then(Value::as_u64).unwrap_or_default();
                };
                client.query(&statement, on_series).await?;
                Ok(count)
            }
            Self::Sqlite(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || count_rows(&path)).await?
            }
            Self::Nowhere => Ok(0),
        }
    }

    /// Hands on every point of the range, whatever its series. Memory is bounded by a chunk of
    /// rows.
    ///
    /// # Errors
    /// When the database cannot be read; what was handed on stands.
    pub async fn points(
        &self,
        range: TimeRange,
        mut on_point: impl FnMut(StoredPoint<'_>) + Send,
    ) -> anyhow::Result<()> {
        match self {
            Self::InfluxDb { client, instances } => {
                let condition = where_clause(instances.as_ref(), range);
                // The fields that show a point that holds neither a state nor a removal.
                let statement = format!(
                    "SELECT \"state\", \"removed\", \"value\", \"sequence\" FROM \
                     \"{MEASUREMENT}\"{condition} GROUP BY *"
                );
                client
                    .query(&statement, |series| each_row(&series, &mut on_point))
                    .await?;
                Ok(())
            }
            // A read of a local file: short enough not to need a thread of its own.
            Self::Sqlite(path) => each_sqlite_row(path, range, on_point),
            Self::Nowhere => Ok(()),
        }
    }
}

pub(crate) fn where_clause(instances: Option<&Instances>, range: TimeRange) -> String {
    let conditions: Vec<String> = [
        instances.map(|instances| match instances {
            Instances::One(name) => format!("\"instance\" = '{name}'"),
            Instances::Numbered(name) => format!("\"instance\" =~ /^{name}-[0-9]+$/"),
        }),
        range.from_ns.map(|time| format!("time >= {time}")),
        range.to_ns.map(|time| format!("time < {time}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if conditions.is_empty() {
        return String::new();
    }
    format!(" WHERE {}", conditions.join(" AND "))
}

fn each_row(series: &Series, on_point: &mut impl FnMut(StoredPoint<'_>)) {
    let entity_id = series.tags.get("entity_id").map_or("", String::as_str);
    for row in &series.values {
        let time_ns = row.first().and_then(Value::as_i64).unwrap_or_default();
        on_point(StoredPoint {
            entity_id,
            time_ns,
            state: row.get(1).and_then(Value::as_str).map(Cow::Borrowed),
            removed: row.get(2).and_then(Value::as_bool).unwrap_or_default(),
        });
    }
}

#[derive(Deserialize)]
struct Tags<'a> {
    #[serde(borrow, default)]
    entity_id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    state: Option<Cow<'a, str>>,
    #[serde(default)]
    removed: bool,
}

fn open(path: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| format!("opening {}", path.display()))?;
    connection.busy_timeout(BUSY_MAX)?;
    Ok(connection)
}

fn count_rows(path: &Path) -> anyhow::Result<u64> {
    let statement = "SELECT count(*) FROM points WHERE measurement = ?1";
    let count: i64 = open(path)?.query_row(statement, [MEASUREMENT], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

fn each_sqlite_row(
    path: &Path,
    range: TimeRange,
    mut on_point: impl FnMut(StoredPoint<'_>),
) -> anyhow::Result<()> {
    let connection = open(path)?;
    let mut statement = connection.prepare(
        "SELECT tags, fields, time_ns FROM points \
         WHERE measurement = ?1 AND time_ns >= ?2 AND time_ns < ?3",
    )?;
    let from = range.from_ns.unwrap_or(i64::MIN);
    let to = range.to_ns.unwrap_or(i64::MAX);
    let mut rows = statement.query((MEASUREMENT, from, to))?;
    while let Some(row) = rows.next()? {
        let tags: Tags<'_> = serde_json::from_str(row.get_ref(0)?.as_str()?)?;
        let fields: Fields<'_> = serde_json::from_str(row.get_ref(1)?.as_str()?)?;
        on_point(StoredPoint {
            entity_id: &tags.entity_id,
            time_ns: row.get(2)?,
            state: fields.state,
            removed: fields.removed,
        });
    }
    Ok(())
}
