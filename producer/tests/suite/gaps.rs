//! Gaps in the stream that something hinders from being filled.

use crate::support::{
    Files, Variables, absent, home, missing_or_wrong, producer, wait_until_settled,
    wait_until_settled_beside, with,
};
use ha_kit::{Process, eventually};
use ha_simulator::Simulator;
use std::time::{Duration, SystemTime};

const HISTORY: &str = "history/history_during_period";

/// The last reading of history begins this long after the connection, if it is answered whole.
const LAST_READING_AFTER: Duration = Duration::from_secs(30);

/// Runs a producer for each of these files, fires events that they store, and kills them. Returns
/// their settings.
async fn killed_before_a_gap<const N: usize>(
    home: &Simulator,
    files: [&Files; N],
) -> [Variables; N] {
    let variables = files.map(|files| files.embedded(home, "inline"));
    let processes = variables.each_ref().map(|variables| producer(variables));
    for process in &processes {
        process.wait_until_ready().await;
    }
    home.fire(200);
    for process in &processes {
        wait_until_settled(process, home).await;
    }
    for process in processes {
        process.kill().await;
    }
    variables
}

/// Sets a mark in the file of a spool whose process has ended.
fn set_mark(files: &Files, name: &str, value: i64) {
    let spool = rusqlite::Connection::open(files.spool()).unwrap();
    let sql = "INSERT OR REPLACE INTO marks VALUES (?1, ?2)";
    assert_eq!(spool.execute(sql, (name, value)).unwrap(), 1);
}

/// The value of a metric without labels.
async fn metric(process: &Process, name: &str) -> f64 {
    let (_, metrics) = process.get("/metrics").await;
    let line = metrics.lines().find_map(|line| {
        let (of, value) = line.split_once(' ')?;
        (of == name).then(|| value.parse().unwrap())
    });
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}

async fn until_nothing_is_absent(home: &Simulator, files: &Files) {
    eventually("every event to be stored", async || {
        (absent(home, files) == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gap_stays_open_while_home_assistant_refuses_its_history() {
    let (home, asking, restarted) = (home().await, Files::new(), Files::new());
    let [variables, variables_restarted] = killed_before_a_gap(&home, [&asking, &restarted]).await;
    home.fire(400);
    home.set_unknown_commands(&[HISTORY]);

    let process = producer(&variables);
    let other = producer(&variables_restarted);
    for process in [&process, &other] {
        process.wait_until_ready().await;
        eventually(
            "history to be refused for longer than its last reading waits",
            async || {
                let status = process.status().await;
                let since = status["home_assistant"]["since"].as_u64()?;
                let connected = SystemTime::UNIX_EPOCH + Duration::from_secs(since);
                let connected_for = connected.elapsed().unwrap_or_default();
                (connected_for > LAST_READING_AFTER + Duration::from_secs(2)).then_some(())
            },
        )
        .await;
        let status = process.status().await;
        let gap = &status["gaps"][0];
        assert!(gap["history_refused"].as_u64() > Some(2), "{status}");
        let refusal = gap["last_refusal"].as_str().unwrap();
        assert!(refusal.contains("unknown_command"), "{status}");
        assert_eq!(process.get("/readyz").await.0, 200, "it takes new events");
        assert!(metric(process, "ha_ingestor_gap_open_seconds").await > 30.0);
        assert!(metric(process, "ha_ingestor_history_refused_total").await > 2.0);
    }
    // The mark stays at the gap's beginning: a later run fills it.
    other.stop().await;
    home.set_unknown_commands(&[]);
    let other = producer(&variables_restarted);
    until_nothing_is_absent(&home, &restarted).await;
    until_nothing_is_absent(&home, &asking).await;
    for process in [process, other] {
        eventually("the gap to be closed", async || {
            let is_closed = process.status().await["gaps"] == serde_json::json!([]);
            (is_closed && metric(&process, "ha_ingestor_gap_open_seconds").await == 0.0)
                .then_some(())
        })
        .await;
        process.stop().await;
    }
    for files in [&asking, &restarted] {
        assert_eq!(missing_or_wrong(&home, &files.points()), [""; 0]);
    }
}

#[tokio::test]
async fn an_event_dated_in_the_future_does_not_hide_a_gap() {
    let (home, files) = (home().await, Files::new());
    let variables = files.embedded(&home, "inline");
    let process = producer(&variables);
    process.wait_until_ready().await;
    home.fire(100);
    let future = "2099-01-01T00:00:00.000001+00:00";
    let event = format!(
        r#"{{"event_type":"state_changed","data":{{"entity_id":"sensor.clock","old_state":null,"new_state":{{"entity_id":"sensor.clock","state":"1","attributes":{{}},"last_changed":"{future}","last_updated":"{future}","context":{{"id":"01C","parent_id":null,"user_id":null}}}}}},"origin":"LOCAL","time_fired":"{future}","context":{{"id":"01C","parent_id":null,"user_id":null}}}}"#
    );
    home.inject_event(&event, true).unwrap();
    home.fire(100);
    wait_until_settled(&process, &home).await;
    process.kill().await;
    home.fire(300);
    let process = producer(&variables);
    until_nothing_is_absent(&home, &files).await;
    // Its state of 2099 is still the current one. That must not keep the gap open.
    eventually("the gap to be closed", async || {
        (process.status().await["gaps"] == serde_json::json!([])).then_some(())
    })
    .await;
    process.stop().await;
    assert_eq!(missing_or_wrong(&home, &files.points()), [""; 0]);
}

#[tokio::test]
async fn a_stored_mark_in_the_future_is_not_believed() {
    let (home, files) = (home().await, Files::new());
    let [variables] = killed_before_a_gap(&home, [&files]).await;
    home.fire(300);
    // As an earlier release stored it after one event dated in the future.
    set_mark(&files, "low_water_ns", 4_070_908_800_000_000_000);
    let process = producer(&variables);
    until_nothing_is_absent(&home, &files).await;
    let output = process.stop().await;
    assert!(output.contains("a time in the future"), "{output}");
    assert_eq!(missing_or_wrong(&home, &files.points()), [""; 0]);
}

#[tokio::test]
async fn a_text_that_is_no_entity_costs_no_entity_its_history() {
    let (home, files) = (home().await, Files::new());
    let types = [("EVENT_TYPES", "state_changed,scanned".to_owned())];
    let variables = with(files.embedded(&home, "inline"), &types);
    let process = producer(&variables);
    process.wait_until_ready().await;
    home.fire(100);
    home.fire_bus_event("scanned", r#"{"entity_id":"Front door!"}"#)
        .unwrap();
    home.fire(100);
    wait_until_settled_beside(&process, &home, 1, 0).await;
    process.kill().await;
    let known = {
        let spool = rusqlite::Connection::open(files.spool()).unwrap();
        let sql = "SELECT count(*) FROM marks WHERE name = 'entity/Front door!'";
        spool
            .query_row(sql, [], |row| row.get::<_, u32>(0))
            .unwrap()
    };
    assert_eq!(known, 0, "entities are learned from state changes only");
    home.fire(300);
    // Earlier releases learned it, and kept it.
    set_mark(&files, "entity/Front door!", 0);
    let process = producer(&variables);
    until_nothing_is_absent(&home, &files).await;
    let output = process.stop().await;
    assert!(output.contains("Front door!"), "{output}");
    assert_eq!(missing_or_wrong(&home, &files.points()), [""; 0]);
}
