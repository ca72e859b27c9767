//! Every way that an event may take leads to the same point.

use crate::*;
use ha_batch::{Origin, WeatherFacts};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

fn any_attributes() -> impl Strategy<Value = Json> {
    let value = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i16>().prop_map(Json::from),
        "[a-c]{0,3}".prop_map(Json::from),
        Just(json!([1, {"a": null}])),
    ];
    let name = prop_oneof![
        "[a-d]",
        Just("device_class".to_owned()),
        Just("unit_of_measurement".to_owned()),
        Just("restored".to_owned()),
        Just("brightness".to_owned()),
    ];
    let typical = prop_oneof![
        Just(json!({})),
        Just(json!({"device_class": "temperature", "unit_of_measurement": "°F"})),
        Just(json!({"device_class": "energy", "state_class": "total_increasing"})),
    ];
    (proptest::collection::btree_map(name, value, 0..6), typical).prop_map(|(map, mut typical)| {
        typical.as_object_mut().unwrap().extend(map);
        typical
    })
}

fn any_state() -> impl Strategy<Value = Json> {
    let state = prop_oneof![
        Just("unavailable".to_owned()),
        Just("on".to_owned()),
        "-?[0-9]{1,4}(\\.[0-9])?".prop_map(String::from),
    ];
    let second = 0_u32..50;
    (state, any_attributes(), second.clone(), second).prop_map(|(state, attributes, a, b)| {
        let time = |second: u32| format!("2026-11-21T21:42:{second:02}.000001+00:00");
        json!({"state": state, "attributes": attributes,
            "last_changed": time(a), "last_updated": time(b)})
    })
}

fn any_event() -> impl Strategy<Value = Json> {
    let state = || proptest::option::weighted(0.8, any_state());
    let id = prop_oneof![
        Just("sensor.a"),
        Just("light.a"),
        Just("climate.a"),
        Just("Odd.One")
    ];
    (id, state(), state()).prop_filter_map("no state at all", |(entity_id, old, new)| {
        (old.is_some() || new.is_some()).then(|| {
            json!({"event_type": "state_changed", "time_fired": "2026-11-21T21:42:51+00:00",
                "context": {"id": "c"},
                "data": {"entity_id": entity_id, "old_state": old, "new_state": new}})
        })
    })
}

/// One way: the options of who processed it, where it came from and how long after it happened.
#[derive(Debug, Clone)]
struct Way {
    plain: bool,
    attributes: AttributePolicy,
    normalize_units: bool,
    origin: Origin,
    processed_s_later: i64,
}

fn any_way() -> impl Strategy<Value = Way> {
    let policy = prop_oneof![
        Just(AttributePolicy::Changed),
        Just(AttributePolicy::All),
        Just(AttributePolicy::None)
    ];
    let origin = prop_oneof![
        Just(Origin::Live),
        Just(Origin::Backfill),
        Just(Origin::Import),
        Just(Origin::Rest)
    ];
    (any::<bool>(), policy, any::<bool>(), origin, 0_i64..400_000).prop_map(
        |(plain, attributes, normalize_units, origin, processed_s_later)| Way {
            plain,
            attributes,
            normalize_units,
            origin,
            processed_s_later,
        },
    )
}

const NEWEST_EVENT_US: i64 = 1_795_297_371_000_000;

/// Weather is observed again and again; who processes the event has the last observation so far.
fn weather_at(observed_s: &[i64], processed_us: i64) -> Option<HomeFacts<'static>> {
    let observed = observed_s
        .iter()
        .map(|second| NEWEST_EVENT_US + second * 1_000_000);
    let observed_at_us = observed.filter(|time| *time <= processed_us).max()?;
    let attributes = json!({"temperature": observed_at_us % 97, "temperature_unit": "°F"});
    Some(HomeFacts {
        weather: Some(WeatherFacts {
            observed_at_us,
            condition: format!("observed {observed_at_us}").into(),
            attributes: attributes.to_string().into(),
        }),
        ..HomeFacts::default()
    })
}

type Merged = (String, i64, BTreeMap<String, String>);

/// The fields that one way writes, with the point's identity.
fn written(json: &str, observed_s: &[i64], way: &Way) -> Merged {
    // A live event is received once, whoever processes it later.
    let is_live = way.origin == Origin::Live;
    let processed_us = NEWEST_EVENT_US + way.processed_s_later * 1_000_000;
    let envelope = Envelope {
        id: Default::default(),
        instance: "home".into(),
        run_id: is_live.then_some(1),
        sequence: is_live.then_some(2),
        received_at_ns: if is_live {
            NEWEST_EVENT_US - 7_200_000_000
        } else {
            processed_us
        } * 1_000,
        origin: way.origin,
        json: json.as_bytes().into(),
    };
    let options = Options {
        depth: if way.plain { Depth::Plain } else { Depth::Full },
        attributes: way.attributes,
        normalize_units: way.normalize_units,
        ..Options::default()
    };
    let home = weather_at(observed_s, processed_us);
    let mut point = enrich(&envelope, home.as_ref(), &options).unwrap();
    assert!(point.seal());
    let fields = point
        .fields
        .iter()
        .map(|(key, value)| (key.joined(), format!("{value:?}")));
    (format!("{:?}", point.tags), point.time_ns, fields.collect())
}

proptest! {
    #[test]
    fn every_order_of_every_ways_merges_to_one_point(
        event in any_event(),
        observed_s in proptest::collection::vec(-5_000_i64..5_000, 0..5),
        ways in proptest::collection::vec(any_way(), 2..7),
    ) {
        let json = event.to_string();
        let mut merged: BTreeMap<String, String> = BTreeMap::new();
        let points: Vec<_> = ways.iter().map(|way| written(&json, &observed_s, way)).collect();
        for ((tags, time_ns, fields), way) in points.iter().zip(&ways) {
            prop_assert_eq!((tags, time_ns), (&points[0].0, &points[0].1));
            for (name, value) in fields {
                // The one field that says which way it was: the last that is not live.
                if name == "origin" {
                    continue;
                }
                // No way contradicts another, so the order of writing cannot matter.
                let earlier = merged.insert(name.clone(), value.clone());
                prop_assert!(earlier.is_none_or(|earlier| earlier == *value), "{} by {:?}", name, way);
            }
        }
    }

    #[test]
    fn no_json_panics_and_a_fields_type_is_a_function_of_its_name(event in any_event(), way in any_way()) {
        let (_, _, fields) = written(&event.to_string(), &[], &way);
        for (name, value) in fields {
            let expected = match name.as_str() {
                name if name.starts_with("attr_") => "Float",
                "value" | "value_normalized" | "duration_in_state_s" | "quality_score" => "Float",
                "available" | "removed" | "enriched" | "attributes_complete" => "Boolean",
                "epoch" | "sequence" => "Integer",
                _ => "Text",
            };
            prop_assert!(value.starts_with(expected), "{}={}", name, value);
        }
    }
}
