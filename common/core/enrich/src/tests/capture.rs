//! A real Home Assistant's events (2024.3.3, 3,000 state changes) through the native schema.

use crate::*;
use ha_batch::Origin;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The events' own bytes.
pub(super) fn capture() -> Vec<String> {
    let events = ha_capture::events().into_iter();
    events
        .map(|json| String::from_utf8(json).unwrap())
        .collect()
}

pub(super) fn envelope(json: &str, sequence: u64) -> Envelope<'_> {
    Envelope {
        id: Default::default(),
        instance: "home".into(),
        run_id: Some(1),
        sequence: Some(sequence),
        received_at_ns: 1_795_297_400_000_000_000,
        origin: Origin::Live,
        json: json.as_bytes().into(),
    }
}

fn line(json: &str, sequence: u64, options: &Options) -> String {
    let envelope = envelope(json, sequence);
    let mut point = enrich(&envelope, None, options).unwrap();
    assert!(point.seal());
    point.to_line()
}

pub(super) fn digest<'x>(lines: impl Iterator<Item = &'x String>) -> String {
    let bytes: Vec<u8> = lines.flat_map(|line| line.bytes().chain([b'\n'])).collect();
    format!("{:016x}", ha_event::fingerprint(&bytes))
}

/// The first forty lines as they are; of all, a digest a domain, so that a change names where to
/// look. The same bytes twice: the digests come from a second pass.
#[test]
fn golden() {
    let events = capture();
    let pass = |options: &Options| -> Vec<String> {
        (1..)
            .zip(&events)
            .map(|(sequence, json)| line(json, sequence, options))
            .collect()
    };
    let options = Options::default();
    let lines = pass(&options);
    insta::assert_snapshot!("first_lines", lines[..40].join("\n"));

    let all = Options {
        attributes: AttributePolicy::All,
        normalize_units: true,
        ..options.clone()
    };
    let mut digests = String::new();
    for (name, options) in [("changed", options), ("all", all)] {
        let mut domains: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let again = pass(&options);
        for line in &again {
            let domain = line
                .split(",domain=")
                .nth(1)
                .unwrap()
                .split(',')
                .next()
                .unwrap();
            domains.entry(domain).or_default().push(line.clone());
        }
        for (domain, lines) in domains {
            let (count, digest) = (lines.len(), digest(lines.iter()));
            digests.push_str(&format!("{name} {domain} {count} {digest}\n"));
        }
        let bytes: usize = again.iter().map(|line| line.len() + 1).sum();
        digests.push_str(&format!("{name} {} lines, {bytes} bytes\n", again.len()));
    }
    insta::assert_snapshot!("digests", digests);
    assert_eq!(lines, pass(&Options::default()), "the same bytes twice");
}

/// What the database can tell of one value: its attribute field, read back.
#[derive(Debug, Clone, PartialEq)]
enum Stored {
    Number(f64),
    Text(String),
}

/// A state as it came. Values stay texts: serde_json's own floats are off in the last digit.
#[derive(serde::Deserialize)]
struct RawState {
    state: String,
    attributes: BTreeMap<String, Box<RawValue>>,
}

#[derive(serde::Deserialize)]
struct RawEvent {
    data: RawData,
}

#[derive(serde::Deserialize)]
struct RawData {
    entity_id: String,
    old_state: Option<Box<RawValue>>,
    new_state: Option<Box<RawValue>>,
}

fn state_of(raw: &Option<Box<RawValue>>) -> Option<RawState> {
    raw.as_ref()
        .map(|raw| serde_json::from_str(raw.get()).unwrap())
}

/// Home Assistant's attributes in the contract's terms; null is no value.
fn expected(state: &RawState) -> BTreeMap<String, Stored> {
    let stored = |value: &str| match value.as_bytes()[0] {
        b'n' => None,
        b't' => Some(Stored::Number(1.0)),
        b'f' => Some(Stored::Number(0.0)),
        b'"' => Some(Stored::Text(serde_json::from_str(value).unwrap())),
        b'[' | b'{' => Some(Stored::Text(value.into())),
        _ => Some(Stored::Number(value.parse().unwrap())),
    };
    let entries = state.attributes.iter();
    entries
        .filter_map(|(name, value)| Some((name.clone(), stored(value.get())?)))
        .collect()
}

/// What a reader of the database knows of one entity after each of its points.
#[derive(Debug, Default)]
struct LastKnown {
    state: Option<String>,
    attributes: BTreeMap<String, Stored>,
}

impl LastKnown {
    /// By the rules that `stages::attributes` states.
    fn read(&mut self, json: &str, options: &Options) {
        let envelope = envelope(json, 1);
        let mut point = enrich(&envelope, None, options).unwrap();
        assert!(point.seal());
        let has = |wanted: &str| point.fields.iter().any(|(key, _)| key.joined() == wanted);
        if has("attributes_complete") || has("removed") {
            self.attributes.clear();
        }
        if has("removed") {
            self.state = None;
        }
        for (key, value) in &point.fields {
            match (key.prefix.as_str(), key.name.as_ref(), value) {
                ("", "state", ha_point::Value::Text(state)) => self.state = Some(state.to_string()),
                ("", "attributes_removed", ha_point::Value::Text(names)) => {
                    for name in serde_json::from_str::<Vec<String>>(names).unwrap() {
                        assert!(
                            self.attributes.remove(&name).is_some(),
                            "{name} was not known"
                        );
                    }
                }
                ("attr_", name, ha_point::Value::Float(number)) => {
                    self.attributes.insert(name.into(), Stored::Number(*number));
                }
                ("text_", name, ha_point::Value::Text(text)) => {
                    self.attributes
                        .insert(name.into(), Stored::Text(text.to_string()));
                }
                ("attr_" | "text_", name, other) => panic!("{name} is {other:?}"),
                _ => {}
            }
        }
    }

    fn assert_is(&self, state: Option<&RawState>) {
        assert_eq!(
            self.state.as_deref(),
            state.map(|state| state.state.as_str())
        );
        assert_eq!(self.attributes, state.map(expected).unwrap_or_default());
    }
}

fn state_changed(entity_id: &str, old: &str, new: &str) -> String {
    format!(
        r#"{{"event_type":"state_changed","time_fired":"2026-11-21T21:42:01.9+00:00",
        "data":{{"entity_id":"{entity_id}","old_state":{old},"new_state":{new}}}}}"#
    )
}

#[test]
fn with_changed_attributes_last_known_values_are_home_assistants_at_every_event() {
    let options = Options::default();
    let mut entities: BTreeMap<String, LastKnown> = BTreeMap::new();
    let (mut removed, mut compared) = (0, 0);
    for json in capture() {
        let data = serde_json::from_str::<RawEvent>(&json).unwrap().data;
        let known = entities.entry(data.entity_id.clone()).or_insert_with(|| {
            // What the entity was before the capture began, as gap fill stores it.
            let mut known = LastKnown::default();
            if let Some(old) = &data.old_state {
                known.read(&state_changed(&data.entity_id, "null", old.get()), &options);
            }
            known
        });
        known.assert_is(state_of(&data.old_state).as_ref());
        known.read(&json, &options);
        known.assert_is(state_of(&data.new_state).as_ref());
        compared += 1;
        removed += usize::from(line(&json, 1, &options).contains("attributes_removed"));
    }
    assert_eq!(compared, 3_000);
    assert!(
        removed > 50,
        "{removed} events in which an attribute went away"
    );
}

#[test]
fn with_all_attributes_every_state_and_attribute_stands_in_its_own_point() {
    let options = Options {
        attributes: AttributePolicy::All,
        ..Options::default()
    };
    for json in capture() {
        let data = serde_json::from_str::<RawEvent>(&json).unwrap().data;
        let new = state_of(&data.new_state);
        let mut known = LastKnown::default();
        // Nothing is known from before but what this event ends, and the point must say so.
        if let (Some(old), Some(new)) = (state_of(&data.old_state), &new) {
            let kept = expected(new);
            known.attributes = expected(&old);
            known.attributes.retain(|name, _| !kept.contains_key(name));
        }
        known.read(&json, &options);
        known.assert_is(new.as_ref());
    }
}

#[test]
fn attributes_that_change_type_vanish_or_come_back_after_a_restart() {
    let entity = "sensor.a";
    let state = |attributes: &str| {
        format!(
            r#"{{"state":"1","attributes":{attributes},
            "last_changed":"2026-11-21T21:42:01+00:00","last_updated":"2026-11-21T21:42:01+00:00"}}"#
        )
    };
    let parsed = |json: &str| serde_json::from_str::<Option<RawState>>(json).unwrap();
    let mut known = LastKnown::default();
    let mut old = String::from("null");
    for (attributes, fields) in [
        (
            r#"{"a":1,"b":"x","list":[1,"y"],"gone":true}"#,
            "attr_a=1.0 attr_gone=1.0",
        ),
        (
            r#"{"a":"one","b":2,"list":"[1,\"y\"]","gone":null}"#,
            r#"attr_b=2.0 attributes_removed="[\"gone\"]" text_a="one""#,
        ),
        (
            r#"{"b":2,"a":1}"#,
            r#"attr_a=1.0 attributes_removed="[\"list\"]""#,
        ),
        ("{}", r#"attributes_removed="[\"b\",\"a\"]""#),
        (
            r#"{"a":false,"c":{"d":null}}"#,
            r#"attr_a=0.0 text_c="{\"d\":null}""#,
        ),
    ] {
        let new = state(attributes);
        let json = state_changed(entity, &old, &new);
        let line = line(&json, 1, &Options::default());
        for field in fields.split(' ') {
            assert!(line.contains(field), "{field} in {line}");
        }
        known.read(&json, &Options::default());
        known.assert_is(parsed(&new).as_ref());
        old = new;
    }
    // A restart: the entity is written again, without an old state and with fewer attributes.
    let new = state(r#"{"c":7}"#);
    known.read(&state_changed(entity, "null", &new), &Options::default());
    known.assert_is(parsed(&new).as_ref());
    known.read(&state_changed(entity, &new, "null"), &Options::default());
    known.assert_is(None);
}
