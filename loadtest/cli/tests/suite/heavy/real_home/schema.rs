//! One session written twice: by Home Assistant's own `influxdb` integration, and by us with
//! `INFLUXDB_SCHEMA=homeassistant`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ha_kit::Place;
use serde_json::Value;

/// Longer than it takes the integration to try twice (each try is 10 s three times, with 20 s between
/// two). Only a comparison that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(180);

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
    /// As in a user's `configuration.yaml`, but for `max_retries`. The integration gives a batch up
    /// after that many failed tries 20 s apart, and drops events that have waited for 30 s and 20 s
    /// more for each. With 30 that is ten minutes: more than a busy machine takes.
    pub fn configuration(&self) -> String {
        let url = self.place.services.influxdb_url();
        let port = url.rsplit(':').next().unwrap();
        format!(
            "influxdb:\n  host: 127.0.0.1\n  port: {port}\n  database: {}\n  max_retries: 30\n  \
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

/// What the integration says in Home Assistant's log of points that it did not write: "Catching up,
/// dropped 7 old events.", "Resumed, lost 7 events.", "Could not write …", and what kept it from the
/// database. It says nothing else at the level `warning`, which is the house's, but that the database
/// refused the line of a state `nan`, which we do not write either; the rest of that batch is written.
fn admitted_losses(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains("[homeassistant.components.influxdb"))
        .filter(|line| !line.contains("invalid number dropped=0"))
        .collect()
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
///
/// # Panics
/// Where the integration says in `log`, Home Assistant's, that it lost points: then there is nothing
/// to compare with.
pub async fn both_schemas(
    ours: &Place,
    theirs: &Integration,
    log: &Path,
    since_us: i64,
    until_us: i64,
) -> (Points, Points) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let ours = points(ours, since_us, until_us).await;
        let theirs = points(&theirs.place, since_us, until_us).await;
        let text = std::fs::read_to_string(log).unwrap();
        let losses = admitted_losses(&text);
        assert!(
            losses.is_empty(),
            "Home Assistant's own integration lost points, so there is nothing to compare with; it \
             says: {losses:#?}"
        );
        if ours.keys().eq(theirs.keys()) || tokio::time::Instant::now() > deadline {
            return (ours, theirs);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[test]
fn what_the_integration_admits_to_have_lost_is_found_in_its_log() {
    // Lines of Home Assistant 2024.3.3.
    let losses = [
        "2024-03-01 10:00:00.000 WARNING (influxdb) [homeassistant.components.influxdb] Catching up, \
         dropped 42 old events.",
        "2024-03-01 10:00:00.000 ERROR (influxdb) [homeassistant.components.influxdb] Resumed, lost \
         100 events.",
        "2024-03-01 10:00:00.000 ERROR (influxdb) [homeassistant.components.influxdb] Could not \
         write '[{}]' to influx due to '400: {\"error\":\"partial write: field type conflict: input \
         field \\\"value\\\" is type float, already exists as type string dropped=1\"}'.",
    ];
    let others = [
        "2024-03-01 10:00:00.000 ERROR (influxdb) [homeassistant.components.influxdb] Could not \
         write '[{}]' to influx due to '400: {\"error\":\"partial write: unable to parse \
         'W,entity_id=flaky value=nan 1': invalid number dropped=0\"}'.",
        "2024-03-01 10:00:00.000 WARNING (MainThread) [homeassistant.components.demo] Catching up, \
         dropped 1 old events.",
        "Traceback (most recent call last):",
    ];
    let log = [&losses[..], &others[..]].concat().join("\n");
    assert_eq!(admitted_losses(&log), losses);
    assert_eq!(admitted_losses(&others.join("\n")), [""; 0]);
}
