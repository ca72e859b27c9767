//! A model of what a database takes by its tables' columns, with the words of the real ones.

use std::collections::{BTreeMap, HashMap};

use ha_point::LineParts;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// InfluxDB 2.9.1: the good lines of a write are stored.
    V2,
    /// InfluxDB 3 Core 3.9.6, by its v2 endpoint: all lines are stored or none.
    Core { columns_max: usize },
}

type Columns = BTreeMap<String, &'static str>;
type Fields = BTreeMap<String, String>;

/// The tables, and the points by series and time.
#[derive(Debug, Clone)]
pub struct Tables {
    server: Server,
    tables: HashMap<String, Columns>,
    pub points: BTreeMap<(String, String), Fields>,
}

impl Tables {
    pub fn new(server: Server) -> Self {
        Self {
            server,
            tables: HashMap::new(),
            points: BTreeMap::new(),
        }
    }

    /// Columns of a table, the time among them.
    pub fn columns(&self, measurement: &str) -> usize {
        self.tables
            .get(measurement)
            .map_or(0, |columns| columns.len() + 1)
    }

    /// Writes lines (without line breaks in them); `None` if all are stored, else status and body.
    pub fn write(&mut self, body: &str) -> Option<(u16, String)> {
        let before = self.clone();
        let (mut dropped, mut first) = (0, None);
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            if let Err(words) = self.take(line) {
                dropped += 1;
                first.get_or_insert(words);
            }
        }
        let words = first?;
        Some(match self.server {
            Server::V2 => {
                let message = format!(
                    "failure writing points to database: partial write: field type conflict: {words} \
                     dropped={dropped}"
                );
                let body = serde_json::json!({"code": "unprocessable entity", "message": message});
                (422, body.to_string())
            }
            Server::Core { .. } => {
                *self = before;
                let message = format!("write buffer error: line protocol parse failed: {words}");
                let body = serde_json::json!({"code": "invalid", "message": message});
                (400, body.to_string())
            }
        })
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let parts = LineParts::of(line.as_bytes()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let measurement = text(parts.measurement());
        let series = text(parts.series);
        let mut columns = self.tables.get(&measurement).cloned().unwrap_or_default();
        for tag in series.split(',').skip(1) {
            let (name, _) = tag.split_once('=').unwrap();
            columns.insert(name.to_owned(), "tag");
        }
        let mut fields = Fields::new();
        for field in &parts.fields {
            let (name, value) = (field.plain_name().into_owned(), text(field.value));
            let kind = match value.as_bytes() {
                [b'"', ..] => "string",
                [b't' | b'f', ..] => "boolean",
                [.., b'i'] => "integer",
                _ => "float",
            };
            let known = *columns.entry(name.clone()).or_insert(kind);
            if known != kind {
                return Err(match self.server {
                    Server::V2 => format!(
                        "input field \"{name}\" on measurement \"{measurement}\" is type {kind}, \
                         already exists as type {known}"
                    ),
                    Server::Core { .. } => format!(
                        "invalid column type for column '{name}', expected \
                         iox::column_type::field::{known}, got iox::column_type::field::{kind}"
                    ),
                });
            }
            fields.insert(name, value);
        }
        if let Server::Core { columns_max } = self.server
            && columns.len() + 1 > columns_max
        {
            return Err(format!(
                "Update to schema would exceed number of columns per table limit of {columns_max} \
                 columns"
            ));
        }
        self.tables.insert(measurement, columns);
        let point = self.points.entry((series, text(parts.time))).or_default();
        point.extend(fields);
        Ok(())
    }
}
