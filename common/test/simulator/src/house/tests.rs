use std::{collections::HashMap, sync::Arc, time::Instant};

use serde_json::Value;

use super::*;
use crate::{
    ledger::Ledger,
    machine::{Clock, wall_clock_us},
};

fn events(options: &HouseOptions, count: usize) -> (Arc<Ledger>, Batch) {
    let ledger = Arc::new(Ledger::default());
    let mut machine = StateMachine::new(ledger.clone(), false);
    let mut house = House::new(options);
    house.move_in(&mut machine, wall_clock_us());
    let mut clock = Clock::new(0);
    let mut batch = Batch::default();
    for _ in 0..count {
        house.step(&mut machine, clock.tick_us(), &mut batch);
    }
    (ledger, batch)
}

fn texts(batch: &Batch) -> impl Iterator<Item = &str> {
    let starts = std::iter::once(0).chain(batch.ends.iter().copied());
    starts
        .zip(&batch.ends)
        .map(|(start, end)| &batch.text[start..*end])
}

fn micros(time: &Value) -> i64 {
    time.as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_microsecond()
}

#[test]
fn every_event_is_a_genuine_state_change() {
    let (ledger, batch) = events(&HouseOptions::default(), 30_000);
    let ids = ledger.entities();
    let mut last: HashMap<String, Value> = HashMap::new();
    let mut seen = std::collections::HashSet::new();
    let (mut created, mut removed, mut attributes_only, mut dead) = (0, 0, 0, 0);
    for (text, record) in texts(&batch).zip(&batch.records) {
        let event: Value = serde_json::from_str(text).unwrap();
        assert_eq!(event["event_type"], "state_changed");
        assert_eq!(event["origin"], "LOCAL");
        let data = &event["data"];
        let (old, new) = (&data["old_state"], &data["new_state"]);
        let id = data["entity_id"].as_str().unwrap();
        assert_eq!(&*ids[record.entity as usize], id);
        if let Some(previous) = last.insert(id.to_owned(), new.clone()) {
            assert_eq!(&previous, old, "the chain breaks");
        }
        assert_eq!(micros(&event["time_fired"]), record.time_us);
        assert!(seen.insert((record.entity, record.time_us)));
        assert!(!(old.is_null() && new.is_null()));
        created += u32::from(old.is_null());
        if new.is_null() {
            removed += 1;
            assert!(record.state.is_none());
            continue;
        }
        assert_eq!(event["context"]["id"].as_str().unwrap().len(), ULID_CHARS);
        assert_eq!(new["entity_id"], id);
        assert_eq!(new["state"], record.state.as_ref().unwrap().as_str());
        assert_eq!(new["last_updated"], event["time_fired"]);
        dead += u32::from(new["state"] == "unavailable" || new["state"] == "unknown");
        assert!(new["attributes"]["friendly_name"].is_string());
        if old.is_null() {
            assert_eq!(new["last_changed"], new["last_updated"]);
        } else if old["state"] == new["state"] {
            attributes_only += 1;
            assert_eq!(new["last_changed"], old["last_changed"]);
            assert_ne!(
                new["attributes"], old["attributes"],
                "nothing changed: {text}"
            );
        } else {
            assert_eq!(new["last_changed"], new["last_updated"]);
        }
    }
    assert!(
        created > 0 && removed > 0 && removed < 60,
        "{created} {removed}"
    );
    assert!(
        (2_000..15_000).contains(&attributes_only),
        "{attributes_only}"
    );
    assert!((20..400).contains(&dead), "{dead}");
    assert_eq!(last.len(), ids.len(), "some entity never changed");
}

#[test]
fn without_lifecycle_events_all_entities_stay() {
    let options = HouseOptions {
        lifecycle_events: false,
        entities: 40,
        seed: 5,
    };
    let (ledger, batch) = events(&options, 20_000);
    assert_eq!(ledger.entities().len(), 40);
    for record in &batch.records {
        let state = record.state.as_ref().unwrap().as_str();
        assert!(state != "unavailable" && state != "unknown");
    }
}

#[test]
fn the_seed_decides_and_the_size_is_that_of_a_capture() {
    let states = |seed| {
        let (_, batch) = events(
            &HouseOptions {
                seed,
                ..HouseOptions::default()
            },
            2_000,
        );
        batch
            .records
            .into_iter()
            .map(|record| (record.entity, record.state))
            .collect::<Vec<_>>()
    };
    let timeless = |states: Vec<(u32, Option<crate::StateText>)>| {
        // The state of a scene is a time.
        states
            .into_iter()
            .filter(|(_, state)| {
                !state
                    .as_ref()
                    .is_some_and(|state| state.as_str().contains("+00:00"))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(timeless(states(1)), timeless(states(1)));
    assert_ne!(timeless(states(1)), timeless(states(2)));

    let started = Instant::now();
    let (_, batch) = events(&HouseOptions::default(), 100_000);
    let seconds = started.elapsed().as_secs_f64();
    let mut sizes: Vec<usize> = texts(&batch).map(str::len).collect();
    sizes.sort_unstable();
    let median = sizes[sizes.len() / 2];
    println!(
        "{:.0} events/s, {median} B median, {} B mean, {} B most",
        100_000.0 / seconds,
        batch.text.len() / sizes.len(),
        sizes[sizes.len() - 1],
    );
    assert!((800..=1_400).contains(&median), "{median}");
}

#[test]
fn the_smallest_houses_live() {
    for entities in [0, 1, 2, 3] {
        let (ledger, batch) = events(
            &HouseOptions {
                entities,
                ..HouseOptions::default()
            },
            100,
        );
        assert_eq!(ledger.entities().len(), entities);
        assert_eq!(batch.ends.len(), if entities == 0 { 0 } else { 100 });
    }
}
