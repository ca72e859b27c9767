//! Whatever an event holds, the line that is made of it is one that a real InfluxDB takes.

use crate::support::install_tls_provider;
use ha_batch::{Envelope, Origin};
use ha_enrich::{AttributePolicy, Options, enrich};
use ha_point::{Format, PointBuffer};
use ha_services::Services;
use ha_sink::{Api, InfluxDb, InfluxDbOptions, Sink, WriteOutcome};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

const EVENTS: usize = 2_000;

/// Texts that a format could stumble over, among ordinary ones.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,12}",
        any::<String>(),
        "[ ,=\"\\\\\n\r\t#\u{0}\u{7f}é♥']{0,8}",
        Just("nan".to_owned()),
        "-?[0-9]{1,20}(\\.[0-9]{1,20})?(e-?[0-9]{1,3})?",
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
        prop::collection::vec(any_text(), 0..3).prop_map(Value::from),
    ]
}

fn any_state() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        any_text(),
        Just("device_class".to_owned()),
        Just("unit_of_measurement".to_owned()),
    ];
    let attributes = prop::collection::vec((names, any_value()), 0..8);
    (any_text(), attributes).prop_map(|(state, attributes)| {
        let attributes: Map<String, Value> = attributes.into_iter().collect();
        json!({"state": state, "attributes": attributes})
    })
}

/// The n-th event: of any entity, at a time of its own.
fn event(n: usize, entity_id: &str, old: Option<Value>, new: Option<Value>) -> String {
    let time = format!("2026-11-21T21:42:14.{n:06}+00:00");
    let at = |state: Option<Value>| {
        let mut state = state?;
        (state["last_changed"], state["last_updated"]) = (json!(time), json!(time));
        Some(state)
    };
    // Removals are told by the event's own time.
    json!({"event_type": "state_changed", "time_fired": time,
        "data": {"entity_id": entity_id, "old_state": at(old), "new_state": at(new)}})
    .to_string()
}

#[tokio::test]
async fn every_line_of_any_event_is_accepted_and_counted() {
    install_tls_provider();
    let mut runner = TestRunner::deterministic();
    let state = || prop::option::weighted(0.8, any_state());
    let one = (any_text(), any_text(), state(), state());
    let options = Options {
        attributes: AttributePolicy::All,
        normalize_units: true,
        context_fields: true,
        ..Options::default()
    };
    let mut buffer = PointBuffer::new(Format::LineProtocol);
    while buffer.len() < EVENTS {
        let (domain, object, old, new) = one.new_tree(&mut runner).unwrap().current();
        let json = event(buffer.len(), &format!("{domain}.{object}"), old, new);
        let envelope = Envelope {
            id: Default::default(),
            instance: "home".into(),
            run_id: Some(1),
            sequence: Some(1),
            received_at_ns: 0,
            origin: Origin::Live,
            json: json.into_bytes().into(),
        };
        // Neither state, or no id that Home Assistant could have: a dead letter, and no line.
        if let Ok(point) = enrich(&envelope, None, &options) {
            assert!(buffer.push(point));
        }
    }

    let services = Services::shared().await.unwrap();
    let database = Services::unique_name("events");
    services.create_database(&database).await.unwrap();
    for (api, url) in [
        (Api::V2, services.influxdb_v2_url()),
        (Api::V1, services.influxdb_url()),
    ] {
        let sink = Sink::InfluxDb(
            InfluxDb::new(InfluxDbOptions {
                token: Some(services.influxdb_token().to_owned()),
                org: Some(ha_services::INFLUXDB_ORG.to_owned()),
                ..InfluxDbOptions::new(url, api, &database)
            })
            .unwrap(),
        );
        // The second time the same bytes: the same points.
        assert_eq!(sink.write(&buffer).await, WriteOutcome::Written);
        let statement = "SELECT COUNT(enriched) FROM home_assistant_events";
        let answer = services.query(&database, statement).await.unwrap();
        let count = answer.pointer("/results/0/series/0/values/0/1");
        assert_eq!(count, Some(&Value::from(EVENTS)));
    }
}
