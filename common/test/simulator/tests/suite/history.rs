//! `history/history_during_period` means what it means in Home Assistant.

use std::collections::BTreeMap;

use ha_simulator::{Simulator, SimulatorOptions};
use serde_json::{Value, json};

use crate::client::{Client, identity, micros, simulator};

fn iso(time_us: i64) -> String {
    jiff::Timestamp::from_microsecond(time_us)
        .unwrap()
        .to_string()
}

fn row_us(seconds: &Value) -> i64 {
    let seconds = seconds.as_f64().unwrap();
    seconds.trunc() as i64 * 1_000_000 + (seconds.fract() * 1e6).round_ties_even() as i64
}

struct Home {
    client: Client,
    events: Vec<Value>,
    entities: Vec<String>,
}

impl Home {
    /// A home that has fired `count` events, which the client has received.
    async fn after(count: usize) -> (Simulator, Self) {
        let simulator = simulator().await;
        let mut client = Client::authenticated(&simulator).await;
        client.subscribe().await;
        let mut events = Vec::new();
        while events.len() < count {
            simulator.fire(1_000);
            events.extend(client.events(1_000).await);
        }
        let entities = simulator.entity_ids();
        (
            simulator,
            Self {
                client,
                events,
                entities,
            },
        )
    }

    async fn rows(&mut self, mut request: Value) -> BTreeMap<String, Vec<Value>> {
        request["type"] = json!("history/history_during_period");
        if request.get("entity_ids").is_none() {
            request["entity_ids"] = json!(self.entities);
        }
        let answer = self.client.ask(request).await;
        assert_eq!(answer["success"], true, "{answer}");
        serde_json::from_value(answer["result"].clone()).unwrap()
    }

    /// Times and states of the events in the open interval, by entity; a removal has no state.
    fn expected(
        &self,
        from_us: i64,
        to_us: i64,
        keep: impl Fn(&Value) -> bool,
    ) -> BTreeMap<String, Vec<(i64, Option<String>)>> {
        let mut expected: BTreeMap<String, Vec<(i64, Option<String>)>> = BTreeMap::new();
        for event in self.events.iter().filter(|event| keep(event)) {
            let (entity, time_us, state) = identity(event);
            if from_us < time_us && time_us < to_us {
                expected.entry(entity).or_default().push((time_us, state));
            }
        }
        expected
    }

    fn time(&self, index: usize) -> i64 {
        identity(&self.events[index]).1
    }
}

fn plain(rows: &BTreeMap<String, Vec<Value>>) -> BTreeMap<String, Vec<(i64, Option<String>)>> {
    let row = |row: &Value| (row_us(&row["lu"]), row["s"].as_str().map(str::to_owned));
    rows.iter()
        .map(|(entity, rows)| (entity.clone(), rows.iter().map(row).collect()))
        .collect()
}

#[tokio::test]
async fn the_whole_truth_for_gap_fill() {
    let (_simulator, mut home) = Home::after(3_000).await;
    let (from_us, to_us) = (home.time(500), home.time(2_500));
    let rows = home
        .rows(json!({"start_time": iso(from_us), "end_time": iso(to_us),
            "include_start_time_state": false, "significant_changes_only": false,
            "minimal_response": false, "no_attributes": false}))
        .await;
    // Both ends are open.
    let expected = home.expected(from_us, to_us, |_| true);
    assert_eq!(plain(&rows), expected);
    assert_eq!(expected.values().map(Vec::len).sum::<usize>(), 1_999);
    let mut attributes_only = 0;
    for event in &home.events[501..2_500] {
        let new = &event["event"]["data"]["new_state"];
        if new.is_null() {
            continue;
        }
        let (entity, time_us, _) = identity(event);
        let row = rows[&entity]
            .iter()
            .find(|row| row_us(&row["lu"]) == time_us)
            .unwrap();
        assert_eq!(row["a"], new["attributes"]);
        if new["last_changed"] == new["last_updated"] {
            assert!(row.get("lc").is_none());
        } else {
            attributes_only += 1;
            assert_eq!(row_us(&row["lc"]), micros(&new["last_changed"]));
        }
    }
    assert!(attributes_only > 100);
}

#[tokio::test]
async fn the_defaults_make_up_a_start_and_leave_out_attribute_changes() {
    let (_simulator, mut home) = Home::after(3_000).await;
    let from_us = home.time(1_000) + 1;
    let rows = home.rows(json!({"start_time": iso(from_us)})).await;
    let domains = [
        "climate.",
        "device_tracker.",
        "humidifier.",
        "water_heater.",
    ];
    let significant = |event: &Value| {
        let data = &event["event"]["data"];
        let (old, new) = (&data["old_state"], &data["new_state"]);
        let entity = data["entity_id"].as_str().unwrap();
        new.is_null()
            || old.is_null()
            || new["last_changed"] == new["last_updated"]
            || domains.iter().any(|domain| entity.starts_with(domain))
    };
    let expected = home.expected(from_us, i64::MAX, significant);
    let all = home.expected(from_us, i64::MAX, |_| true);
    assert_ne!(expected, all);
    // Every entity has a state at the start, in a row with the start's time.
    assert_eq!(rows.len(), 300);
    for (entity, rows) in &rows {
        let start_us = row_us(&rows[0]["lu"]);
        assert_eq!(start_us, from_us, "{entity}");
        let before = home.events[..=1_000]
            .iter()
            .rev()
            .map(identity)
            .find(|(id, ..)| id == entity);
        if let Some((_, _, state)) = before {
            assert_eq!(rows[0]["s"].as_str(), state.as_deref());
        }
        assert!(rows.iter().all(|row| row.get("lc").is_none()));
    }
    let without_start: BTreeMap<_, _> = plain(&rows)
        .into_iter()
        .map(|(entity, rows)| (entity, rows[1..].to_vec()))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    assert_eq!(without_start, expected);
    // Before the first row ever there is nothing to start from.
    let early = home
        .rows(json!({"start_time": "2020-01-01T00:00:00+00:00"}))
        .await;
    assert!(
        early
            .values()
            .all(|rows| row_us(&rows[0]["lu"]) > 1_600_000_000_000_000)
    );
}

#[tokio::test]
async fn the_recorder_is_bounded_and_commits_late() {
    let options = SimulatorOptions {
        history_rows_max: 500,
        history_commit_delay: std::time::Duration::from_secs(3_600),
        ..SimulatorOptions::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    simulator.fire(800);
    let mut client = Client::authenticated(&simulator).await;
    let request = |start: i64| {
        json!({"type": "history/history_during_period", "start_time": iso(start),
            "significant_changes_only": false, "include_start_time_state": false,
            "entity_ids": simulator.entity_ids()})
    };
    assert_eq!(client.ask(request(0)).await["result"], json!({}));
    // Once the clock has moved on they are there: the last 500.
    simulator.set_clock_offset_us(3_700_000_000);
    let answer = client.ask(request(0)).await;
    let rows: BTreeMap<String, Vec<Value>> =
        serde_json::from_value(answer["result"].clone()).unwrap();
    let mut times: Vec<i64> = rows
        .values()
        .flatten()
        .map(|row| row_us(&row["lu"]))
        .collect();
    times.sort_unstable();
    let fired: Vec<i64> = simulator.ledger().events()[300..]
        .iter()
        .map(|e| e.time_us)
        .collect();
    assert_eq!(times, fired);
}

#[tokio::test]
async fn minimal_responses_carry_changes_of_the_state_alone() {
    let (_simulator, mut home) = Home::after(2_000).await;
    let request = json!({"start_time": iso(home.time(0) - 1), "minimal_response": true,
        "significant_changes_only": false, "include_start_time_state": false});
    let rows = home.rows(request).await;
    for (entity, rows) in &rows {
        let full = ["climate.", "humidifier.", "water_heater."]
            .iter()
            .any(|d| entity.starts_with(d));
        assert!(rows[0].get("a").is_some());
        if !full {
            assert!(rows[1..].iter().all(|row| row.get("a").is_none()));
            assert!(rows.windows(2).all(|pair| pair[0]["s"] != pair[1]["s"]));
        }
    }
}

#[tokio::test]
async fn refusals_and_emptiness() {
    let (simulator, mut home) = Home::after(1_000).await;
    let mut code = async |request: Value| {
        let mut request = request;
        request["type"] = json!("history/history_during_period");
        let answer = home.client.ask(request).await;
        answer["error"]["code"].as_str().map(str::to_owned)
    };
    let refused = |code: &str| Some(code.to_owned());
    assert_eq!(
        code(json!({"entity_ids": ["sun.sun"]})).await,
        refused("invalid_format")
    );
    assert_eq!(
        code(json!({"start_time": iso(0)})).await,
        refused("invalid_format")
    );
    let request = json!({"start_time": "yesterday", "entity_ids": ["sun.sun"]});
    assert_eq!(code(request).await, refused("invalid_start_time"));
    let request = json!({"start_time": iso(0), "end_time": "x", "entity_ids": ["sun.sun"]});
    assert_eq!(code(request).await, refused("invalid_end_time"));
    let request = json!({"start_time": iso(0), "entity_ids": ["no entity"]});
    assert_eq!(code(request).await, refused("invalid_entity_ids"));
    assert!(
        home.rows(json!({"start_time": "2100-01-01T00:00:00+00:00"}))
            .await
            .is_empty()
    );
    let unknown = json!({"start_time": iso(0), "entity_ids": ["sensor.of_nobody"]});
    assert!(home.rows(unknown).await.is_empty());
    simulator.shutdown().await;
}
