//! Other event types than `state_changed`, into a real database.

use crate::support::{
    Files, home, missing_or_wrong, producer, wait_until_settled_beside, with, worker,
};
use ha_kit::{Place, eventually};
use serde_json::Value;
use std::collections::BTreeSet;

/// Columns of the points of other events, in the order of time.
async fn bus(place: &Place) -> Vec<Value> {
    let statement =
        "SELECT event_type, instance, data, context_id, sequence FROM home_assistant_bus";
    let answer = place
        .services
        .query(&place.database, statement)
        .await
        .unwrap();
    let values = answer.pointer("/results/0/series/0/values");
    values.map_or_else(Vec::new, |values| values.as_array().unwrap().clone())
}

async fn other_events_are_stored(mode: &str) {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let worker = (mode == "queue").then(|| worker(&place));
    let types = "state_changed, call_service ,automation_triggered";
    let way = match mode {
        "queue" => vec![("AMQP_URL", place.amqp_url())],
        _ => place.influxdb(),
    };
    let variables = with(files.variables(&home, mode), &way);
    let process = producer(&with(variables, &[("EVENT_TYPES", types.into())]));
    process.wait_until_ready().await;

    home.fire(50);
    for n in 0..30 {
        let data =
            format!(r#"{{"domain":"light","service_data":{{"entity_id":["light.a"],"n":{n}}}}}"#);
        home.fire_bus_event("call_service", &data).unwrap();
        home.fire_bus_event("nobody_asked", "{}").unwrap();
    }
    // Two of one type in one microsecond, and one of another.
    let at_once = |event_type: &str, n: u32| {
        let json = format!(
            r#"{{"event_type":"{event_type}","data":{{"name":"Tür \"{n}\"","line":"a\nb"}},"origin":"LOCAL","time_fired":"2026-11-22T02:00:00.000001+00:00","context":{{"id":"01C{n}","parent_id":null,"user_id":null}}}}"#
        );
        home.inject_event(&json.replace('\n', "\\n"), false)
            .unwrap();
    };
    at_once("automation_triggered", 1);
    at_once("automation_triggered", 2);
    at_once("call_service", 3);
    home.fire(50);
    wait_until_settled_beside(&process, &home, 33, 0).await;
    process.stop().await;
    let stored = eventually("33 other events", async || {
        let stored = bus(&place).await;
        // A query beside a write may see some fields of a point before the others.
        let whole = |row: &Value| (1..=4).all(|at| row[at].is_string());
        let all = stored.len() >= 33 && stored.iter().all(whole);
        (all && place.points().await.len() >= 100).then_some(stored)
    })
    .await;
    if let Some(worker) = worker {
        worker.stop().await;
    }
    assert_eq!(stored.len(), 33);
    assert_eq!(missing_or_wrong(&home, &place.points().await), [""; 0]);

    let text = |row: &Value, at: usize| row[at].as_str().unwrap().to_owned();
    let types: BTreeSet<_> = stored.iter().map(|row| text(row, 1)).collect();
    assert_eq!(
        types.into_iter().collect::<Vec<_>>(),
        ["automation_triggered", "call_service"]
    );
    let (same, rest): (Vec<_>, Vec<_>) = stored
        .iter()
        .partition(|row| row[0].as_i64().unwrap() / 1_000 == 1_795_312_800_000_001);
    assert_eq!((same.len(), rest.len()), (3, 30));
    let contexts: BTreeSet<_> = same.iter().map(|row| text(row, 4)).collect();
    assert_eq!(
        contexts.into_iter().collect::<Vec<_>>(),
        ["01C1", "01C2", "01C3"]
    );
    for row in &stored {
        assert_eq!(row[2], "home");
        let data: Value = serde_json::from_str(&text(row, 3)).unwrap();
        assert!(data.is_object(), "{data}");
        assert!(
            text(row, 3).contains("light.a") || data["line"] == "a\nb",
            "{row}"
        );
    }
    // One numbering for all types: nothing is missing between 1 and 133.
    let of_events = place.points().await;
    let of_events = of_events.iter().map(|point| &point.columns["sequence"]);
    let numbers: BTreeSet<u64> = of_events
        .chain(stored.iter().map(|row| &row[5]))
        .map(|number| number.as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=133).collect());
}

#[tokio::test]
async fn other_events_are_stored_through_the_queue() {
    other_events_are_stored("queue").await;
}

#[tokio::test]
async fn other_events_are_stored_inline() {
    other_events_are_stored("inline").await;
}
