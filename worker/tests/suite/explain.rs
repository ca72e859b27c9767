//! `worker explain` on the binary: no service is needed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const EVENT: &str = r#"{"event_type":"state_changed","data":{"entity_id":"sensor.a",
 "old_state":{"state":"20","attributes":{"unit_of_measurement":"°F","device_class":"temperature"},"last_changed":"2026-11-21T21:42:00+00:00","last_updated":"2026-11-21T21:42:00+00:00"},
 "new_state":{"state":"212","attributes":{"unit_of_measurement":"°F","device_class":"temperature","note":"two\nlines"},"last_changed":"2026-11-21T21:42:10+00:00","last_updated":"2026-11-21T21:42:10+00:00"}},
 "time_fired":"2026-11-21T21:42:10+00:00","context":{"id":"c","parent_id":null,"user_id":null}}"#;

struct Said {
    code: Option<i32>,
    text: String,
    error: String,
}

/// Runs `worker explain --event -` with this on standard input.
fn explain(input: &str, arguments: &[&str]) -> Said {
    let mut child = Command::new(Path::new(env!("CARGO_BIN_EXE_worker")))
        .args(["explain", "--event", "-"])
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that is told of bad settings does not read.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let ended = child.wait_with_output().unwrap();
    Said {
        code: ended.status.code(),
        text: String::from_utf8(ended.stdout).unwrap(),
        error: String::from_utf8(ended.stderr).unwrap(),
    }
}

const LINE: &str = "home_assistant_events,device_class=temperature,domain=sensor,entity_id=sensor.a,\
instance=cabin duration_in_state_s=10.0,enriched=true,state=\"212\",text_note=\"[two,lines]\",\
unit_normalized=\"°C\",value=212.0,value_normalized=100.0 1795297330000000000";

#[test]
fn the_page_shows_each_stage_and_the_line_stands_by_itself() {
    let event = EVENT.replace("two\\nlines", "[two,lines]");
    let said = explain(&event, &["--instance-name=cabin", "--normalize-units=true"]);
    assert_eq!(said.code, Some(0), "{}", said.error);
    let expected = format!(
        "sensor.a
  change       20 → 212
  time         2026-11-21T21:42:10.000000Z
  from         cabin, live

filters
  kept         yes

stages
  identify     + tag device_class=temperature
               + tag domain=sensor
               + tag entity_id=sensor.a
               + tag instance=cabin
  normalize    + state=\"212\"
               + value=212.0
  derive       + duration_in_state_s=10.0
  attributes   + text_note=\"[two,lines]\"
               2 attributes left out: as in the old state
  units        + value_normalized=100.0
               + unit_normalized=\"°C\"
  validate     nothing to add
  weather      nothing to add
  quality      nothing to add
  provenance   + enriched=true

quality
  100 of 100

line protocol
{LINE}
"
    );
    assert_eq!(said.text, expected);
}

#[test]
fn captures_and_filters_are_explained_event_by_event_as_json_too() {
    let message = format!("{{\"id\":2,\"type\":\"event\",\"event\":{EVENT}}}");
    let placeholder = EVENT.replace(
        "\"212\",\"attributes\":{",
        "\"unavailable\",\"attributes\":{\"restored\":true,",
    );
    let input = format!(
        "[{message},{}]\n{placeholder}",
        EVENT.replace("sensor.a", "light.b")
    );
    let filters = [
        "--json",
        "--exclude-domains=light",
        "--restart-artefacts=filter",
    ];
    let said = explain(&input, &filters);
    assert_eq!(said.code, Some(0), "{}", said.error);
    let events: Vec<serde_json::Value> = said
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let shown: Vec<_> = events
        .iter()
        .map(|event| {
            (
                &event["filter"]["reason"],
                event["line_protocol"].is_string(),
            )
        })
        .collect();
    let left_out = |reason: &str| serde_json::Value::from(reason);
    assert_eq!(
        shown,
        [
            (&serde_json::Value::Null, true),
            (&left_out("excluded_domain"), false),
            (&left_out("restart_artefact"), false),
        ]
    );
    let said = explain(&placeholder, &["--json"]);
    let event: serde_json::Value = serde_json::from_str(&said.text).unwrap();
    assert_eq!(event["flags"][0]["rule"], "restart_artefact");
    assert_eq!(event["quality_score"], 100.0);
}

#[test]
fn what_is_no_event_is_a_dead_letter_and_what_is_no_input_an_error() {
    let said = explain(r#"{"event_type":"state_changed","data":{}}"#, &[]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.text
            .contains("It becomes a dead letter: invalid_event."),
        "{}",
        said.text
    );
    let said = explain("hello", &[]);
    assert_eq!((said.code, said.text.as_str()), (Some(1), ""));
    assert!(
        said.error.contains("neither JSON nor a batch"),
        "{}",
        said.error
    );
    let said = explain(
        "",
        &["--normalize-units=perhaps", "--restart-artefacts=drop"],
    );
    assert_eq!(said.code, Some(2));
    for words in ["NORMALIZE_UNITS", "RESTART_ARTEFACTS", "flag or filter"] {
        assert!(said.error.contains(words), "{}", said.error);
    }
}
