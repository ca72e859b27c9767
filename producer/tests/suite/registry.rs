//! What the registries say: read at the start, kept fresh, and never in the way of an event.

use crate::support::{Files, home, missing_or_wrong, producer, wait_until_settled, with, worker};
use ha_kit::{Place, SOON, eventually};
use ha_simulator::{HouseOptions, Registry, Simulator, SimulatorOptions};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// The newest fields of every entity in the embedded database, and how many points there are.
fn entities(files: &Files) -> (BTreeMap<String, Value>, usize) {
    let database = rusqlite::Connection::open(files.database()).unwrap();
    let mut statement = database
        .prepare(
            "SELECT tags, fields FROM points WHERE measurement = 'home_assistant_entities' \
             ORDER BY time_ns",
        )
        .unwrap();
    let rows = statement
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })
        .unwrap();
    let (mut newest, mut points) = (BTreeMap::new(), 0);
    for row in rows {
        let (tags, fields) = row.unwrap();
        let tags: Value = serde_json::from_str(&tags).unwrap();
        assert_eq!(tags.as_object().unwrap().len(), 2, "{tags}");
        assert_eq!(tags["instance"], "home");
        let entity_id = tags["entity_id"].as_str().unwrap().to_owned();
        newest.insert(entity_id, serde_json::from_str(&fields).unwrap());
        points += 1;
    }
    (newest, points)
}

fn named(name: &str) -> Map<String, Value> {
    json!({ "name": name }).as_object().unwrap().clone()
}

/// Entities whose newest record names this area.
fn in_area(files: &Files, area: &str) -> Vec<String> {
    let (newest, _) = entities(files);
    let there = newest
        .into_iter()
        .filter(|(_, fields)| fields["area"] == area);
    there.map(|(entity_id, _)| entity_id).collect()
}

#[tokio::test]
async fn facts_are_kept_fresh_through_a_burst_and_no_event_is_lost() {
    let (home, files) = (home().await, Files::new());
    let tags = [("EXTRA_TAGS", "area,floor".to_owned())];
    let process = producer(&with(files.embedded(&home, "inline"), &tags));
    process.wait_until_ready().await;
    eventually("every entity", async || {
        (entities(&files).1 == home.entity_ids().len()).then_some(())
    })
    .await;
    let kitchen = in_area(&files, "Kitchen");
    assert!(kitchen.len() > 3, "{kitchen:?}");
    let (newest, _) = entities(&files);
    let fields = &newest[&kitchen[0]];
    for name in [
        "device",
        "friendly_name",
        "integration",
        "manufacturer",
        "model",
    ] {
        assert!(fields[name].is_string(), "{name}: {fields}");
    }
    assert_eq!(fields["floor"], "Ground Floor");
    assert!(newest.values().any(|fields| fields["unit"].is_string()));
    assert!(newest.values().any(|fields| fields["labels"] == "Comfort"));

    // A burst, and in the middle of it 300 updates of every registry.
    let firing = home.run_rate(2_000.0, Some(Duration::from_millis(1_500)));
    for update in 0..60 {
        let room = format!("Kitchen {update}");
        assert!(home.update_registry(Registry::Area, "kitchen", &named(&room)));
        for (registry, id) in [
            (Registry::Floor, "ground_floor"),
            (Registry::Label, "comfort"),
            (Registry::Entity, kitchen[0].as_str()),
        ] {
            assert!(home.update_registry(registry, id, &named(&room)), "{id}");
        }
        let device = format!("{update:032x}");
        assert!(home.update_registry(Registry::Device, &device, &named(&room)));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    timeout(SOON, firing).await.unwrap().unwrap();
    eventually("the last update", async || {
        let (newest, _) = entities(&files);
        let fields = &newest[&kitchen[0]];
        let all = ["area", "floor", "friendly_name"]
            .iter()
            .all(|name| fields[name] == "Kitchen 59");
        all.then_some(())
    })
    .await;
    home.fire(500);
    wait_until_settled(&process, &home).await;
    let status = process.status().await;
    process.stop().await;
    let points = files.points();
    assert_eq!(missing_or_wrong(&home, &points), [""; 0]);
    assert_eq!(points.len() as u64, home.ledger().sent());
    assert_eq!(status["events"]["received"], home.ledger().sent());

    let of_kitchen = points
        .iter()
        .filter(|point| kitchen.iter().any(|id| id == point.text("entity_id")));
    let areas: Vec<&str> = of_kitchen.map(|point| point.text("area")).collect();
    assert!(
        areas.iter().all(|area| area.starts_with("Kitchen")),
        "{areas:?}"
    );
    assert!(areas.contains(&"Kitchen") && areas.contains(&"Kitchen 59"));
    // Readings, not updates, are what changes cost.
    let (newest, records) = entities(&files);
    assert!(
        records < newest.len() * 10,
        "{records} points of {}",
        newest.len()
    );
}

#[tokio::test]
async fn an_older_home_has_no_floors_and_the_queue_carries_the_rest() {
    let unknown = ["config/floor_registry/list", "config/label_registry/list"];
    let home = Simulator::start(SimulatorOptions {
        unknown_commands: unknown.map(str::to_owned).into(),
        house: HouseOptions {
            entities: 60,
            ..HouseOptions::default()
        },
        ..SimulatorOptions::default()
    })
    .await
    .unwrap();
    let (files, place) = (Files::new(), Place::new().await);
    let worker = worker(&place);
    let variables = with(
        files.variables(&home, "queue"),
        &[("AMQP_URL", place.amqp_url())],
    );
    let process = producer(&variables);
    process.wait_until_ready().await;
    let rows = eventually("every entity in the database", async || {
        let statement = "SELECT last(integration), area, floor, unit FROM home_assistant_entities \
                         GROUP BY entity_id, instance";
        let answer = place
            .services
            .query(&place.database, statement)
            .await
            .unwrap();
        let series = answer.pointer("/results/0/series")?.as_array()?.clone();
        (series.len() == 60).then_some(series)
    })
    .await;
    home.fire(200);
    wait_until_settled(&process, &home).await;
    process.stop().await;
    eventually("the events", async || {
        (place.points().await.len() == 200).then_some(())
    })
    .await;
    worker.stop().await;
    let column = |at: usize| {
        let values = rows.iter().map(move |row| row["values"][0][at].clone());
        values.filter(|value| !value.is_null()).count()
    };
    assert!(column(2) > 10, "areas");
    assert_eq!(column(3), 0, "no floors");
    assert!(column(4) > 10, "units");
    assert_eq!(missing_or_wrong(&home, &place.points().await), [""; 0]);
    assert_eq!(place.depth("ha.dead-letters").await, 0);
}

/// Kilobytes of memory that the process holds at most, so far.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn ten_thousand_entities_are_read_beside_the_stream() {
    let house = HouseOptions {
        entities: 10_000,
        lifecycle_events: false,
        ..HouseOptions::default()
    };
    let home = Simulator::start(SimulatorOptions {
        house,
        ..SimulatorOptions::default()
    })
    .await
    .unwrap();
    let files = Files::new();
    let process = producer(&files.embedded(&home, "inline"));
    process.wait_until_ready().await;
    let firing = home.run_rate(500.0, Some(Duration::from_secs(2)));
    eventually("10,000 entities", async || {
        (entities(&files).1 == 10_000).then_some(())
    })
    .await;
    timeout(SOON, firing).await.unwrap().unwrap();
    wait_until_settled(&process, &home).await;
    assert_eq!(process.status().await["reconnections"], 0, "never cut off");
    let peak = peak_kib(process.pid());
    process.stop().await;
    assert_eq!(missing_or_wrong(&home, &files.points()), [""; 0]);
    assert!(peak < 256 << 10, "{peak} KiB");
}
