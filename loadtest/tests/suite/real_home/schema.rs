//! One session written twice: by Home Assistant's own `influxdb` integration, and by us with
//! `INFLUXDB_SCHEMA=homeassistant`.

use crate::process::SOON;
use crate::stored::Place;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Fields by measurement, tags and time.
pub type Points = BTreeMap<(String, String, i64), BTreeMap<String, Value>>;

/// The integration, which writes to a database of its own.
pub struct Integration {
    place: Place,
}

pub async fn integration() -> Integration {
    Integration {
        place: Place::new().await,
    }
}

impl Integration {
    /// As in the user's `configuration.yaml`.
    pub fn configuration(&self) -> String {
        let url = self.place.services.influxdb_url();
        let port = url.rsplit(':').next().unwrap();
        format!(
            "influxdb:\n  host: 127.0.0.1\n  port: {port}\n  database: {}\n  max_retries: 3\n  \
             default_measurement: units\n  tags: {{source: HA}}\n  \
             tags_attributes: [state_class, source_type]\n  ignore_attributes: [icon]\n",
            self.place.database
        )
    }

    /// The same settings in our terms.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("INFLUXDB_SCHEMA", "homeassistant".into()),
            ("INFLUXDB_DEFAULT_MEASUREMENT", "units".into()),
            ("INFLUXDB_TAGS", "source=HA".into()),
            ("INFLUXDB_TAGS_ATTRIBUTES", "state_class,source_type".into()),
            ("INFLUXDB_IGNORE_ATTRIBUTES", "icon".into()),
        ]
    }
}

async fn points(place: &Place, since_us: i64, until_us: i64) -> Points {
    let statement = format!(
        "SELECT * FROM /.*/ WHERE time >= {since_us}000 AND time < {until_us}000 GROUP BY *"
    );
    let answer = place.services.query(&place.database, &statement).await;
    let answer = answer.unwrap();
    let series = answer
        .pointer("/results/0/series")
        .and_then(Value::as_array);
    let mut points = Points::new();
    for series in series.into_iter().flatten() {
        let name = series["name"].as_str().unwrap();
        let tags = series["tags"].to_string();
        let columns = series["columns"].as_array().unwrap();
        for row in series["values"].as_array().unwrap() {
            let named = columns.iter().zip(row.as_array().unwrap()).skip(1);
            let fields = named
                .filter(|(_, value)| !value.is_null())
                .map(|(column, value)| (column.as_str().unwrap().to_owned(), value.clone()));
            let key = (name.to_owned(), tags.clone(), row[0].as_i64().unwrap());
            points.insert(key, fields.collect());
        }
    }
    points
}

/// Both databases, once they hold the same points, or after a while: ours, theirs.
pub async fn both_schemas(
    ours: &Place,
    theirs: &Integration,
    since_us: i64,
    until_us: i64,
) -> (Points, Points) {
    let deadline = tokio::time::Instant::now() + SOON / 2;
    loop {
        let ours = points(ours, since_us, until_us).await;
        let theirs = points(&theirs.place, since_us, until_us).await;
        if ours.keys().eq(theirs.keys()) || tokio::time::Instant::now() > deadline {
            return (ours, theirs);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
