//! What Home Assistant writes in place of states while it starts.

use crate::support::{Files, home, producer, wait_until_settled_beside};
use ha_kit::Process;
use ha_simulator::Simulator;

fn state(state: &str, second: u32, attributes: &str) -> String {
    let time = format!("2026-01-01T00:00:{second:02}+00:00");
    format!(
        r#"{{"entity_id":"light.a","state":"{state}","attributes":{attributes},"last_changed":"{time}","last_updated":"{time}"}}"#
    )
}

fn event(old: &str, new: &str) -> String {
    format!(
        r#"{{"event_type":"state_changed","data":{{"entity_id":"light.a","old_state":{old},"new_state":{new}}},"time_fired":"2026-01-01T00:00:09+00:00"}}"#
    )
}

/// A restart as Home Assistant makes it, between two changes of the house.
async fn restart(home: &Simulator, process: &Process) {
    process.wait_until_ready().await;
    let on = state("on", 1, "{}");
    let placeholder = state("unavailable", 2, r#"{"restored":true}"#);
    let back = state("off", 3, r#"{"brightness":3}"#);
    let unavailable = state("unavailable", 4, "{}");
    for event in [
        event("null", &on),
        event("null", &placeholder),
        event(&placeholder, &back),
        event(&back, &unavailable),
    ] {
        home.inject_event(&event, false).unwrap();
    }
    wait_until_settled_beside(process, home, 4, 0).await;
}

/// State, flags and sequence of every point.
fn shown(files: &Files) -> Vec<String> {
    let points = files.points();
    let points = points.iter().map(|point| {
        let (state, flags) = (point.text("state"), point.text("quality_flags"));
        format!("{state} {flags} {}", point.columns["sequence"])
    });
    points.collect()
}

#[tokio::test]
async fn placeholders_are_flagged_or_by_the_setting_left_out_and_counted() {
    let home = home().await;
    let flagged = Files::new();
    let process = producer(&flagged.embedded(&home, "inline"));
    restart(&home, &process).await;
    process.stop().await;
    assert_eq!(
        shown(&flagged),
        [
            "on  1",
            "unavailable restart_artefact 2",
            "off restart_artefact 3",
            "unavailable  4"
        ]
    );

    let filtered = Files::new();
    let mut variables = filtered.embedded(&home, "inline");
    variables.push(("RESTART_ARTEFACTS", "filter".into()));
    let process = producer(&variables);
    restart(&home, &process).await;
    let (_, metrics) = process.get("/metrics").await;
    let counted = "ha_ingestor_events_filtered_total{reason=\"restart_artefact\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    process.stop().await;
    // What takes its place is kept, since nobody says a second time that the light went out; and the
    // sequence has no gap, since filtering comes before it.
    let expected = ["on  1", "off restart_artefact 2", "unavailable  3"];
    assert_eq!(shown(&filtered), expected);
}
