//! Each rule broken and kept.

use crate::*;
use ha_batch::Origin;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

const UPDATED: &str = "2026-11-21T21:42:10+00:00";
const UPDATED_NS: i64 = 1_795_297_330_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;

fn state(state: &str, attributes: &Json) -> Json {
    json!({"state": state, "attributes": attributes, "last_changed": UPDATED, "last_updated": UPDATED})
}

fn event(entity_id: &str, old: Json, new: Json) -> Json {
    json!({"event_type": "state_changed", "time_fired": UPDATED,
        "data": {"entity_id": entity_id, "old_state": old, "new_state": new}})
}

fn report_of(event: &Json, received_at_ns: i64, origin: Origin) -> (String, Report) {
    let envelope = Envelope {
        id: Default::default(),
        instance: "home".into(),
        run_id: None,
        sequence: None,
        received_at_ns,
        origin,
        json: event.to_string().into_bytes().into(),
    };
    let (mut point, report) = enrich_with_report(&envelope, None, &Options::default()).unwrap();
    assert!(point.seal());
    (point.to_line(), report)
}

fn flags(event: &Json) -> String {
    report_of(event, UPDATED_NS, Origin::Live).1.flags.ids()
}

fn sensor(value: &str, class: &str, unit: &str) -> Json {
    let attributes = json!({"device_class": class, "unit_of_measurement": unit});
    event("sensor.a", Json::Null, state(value, &attributes))
}

fn counter(old: &str, new: &str) -> Json {
    let attributes = json!({"state_class": "total_increasing"});
    event("sensor.a", state(old, &attributes), state(new, &attributes))
}

fn with(entity_id: &str, value: &str, attributes: &Json) -> Json {
    event(entity_id, Json::Null, state(value, attributes))
}

fn changed(at: &str, value: &str) -> Json {
    let mut event = with("sensor.a", "1", &json!({}));
    *event.pointer_mut(at).unwrap() = value.into();
    event
}

#[test]
fn each_rule_is_broken_by_what_it_says_and_by_nothing_near_it() {
    let none = json!({});
    let other = json!({"entity_id": "sensor.b", "state": "1", "attributes": {}, "last_changed": UPDATED, "last_updated": UPDATED});
    let restored = json!({"restored": true});
    let mut no_changed = with("sensor.a", "1", &none);
    no_changed["data"]["new_state"]["last_changed"] = Json::Null;
    let mut no_updated = with("sensor.a", "1", &none);
    no_updated["data"]["new_state"]["last_updated"] = Json::Null;
    let mut later_old = state("1", &none);
    later_old["last_updated"] = "2026-11-21T21:42:11+00:00".into();
    let fahrenheit = json!({"temperature": 100, "temperature_unit": "°F"});
    let cases = [
        (with("sensor.a", "1", &none), ""),
        (with("3d_printer.a1", "1", &none), "unknown_domain"),
        (
            with("Sensor.a", "1", &none),
            "entity_id_form,unknown_domain",
        ),
        (with("sensor.a_", "1", &none), "entity_id_form"),
        (with("sensor._a", "1", &none), "entity_id_form"),
        (
            event("sensor.a", Json::Null, other.clone()),
            "entity_ids_differ",
        ),
        (event("sensor.b", Json::Null, other), ""),
        (no_changed, "last_changed_missing"),
        (
            changed("/data/new_state/last_changed", "yesterday"),
            "last_changed_missing",
        ),
        (no_updated, "last_updated_missing"),
        (with("sensor.a", "1", &json!([1])), "attributes_not_object"),
        (
            changed("/data/new_state/last_changed", "2026-11-21T21:42:11+00:00"),
            "changed_after_updated",
        ),
        // The same instant in another offset.
        (
            changed("/data/new_state/last_changed", "2026-11-21T13:42:10-08:00"),
            "",
        ),
        (
            event("sensor.a", later_old, state("1", &none)),
            "new_before_old",
        ),
        (with("sensor.a", &"é".repeat(255), &none), ""),
        (with("sensor.a", &"é".repeat(256), &none), "state_too_long"),
        (sensor("21.5", "temperature", "°C"), ""),
        (sensor("warm", "temperature", "°C"), "state_not_numeric"),
        (sensor("1_000", "power", "W"), "state_not_numeric"),
        (sensor("unavailable", "temperature", "°C"), ""),
        (sensor("unknown", "temperature", "°C"), ""),
        (sensor("2026-11-21T21:42:10+00:00", "timestamp", ""), ""),
        (sensor("washing", "enum", ""), ""),
        (sensor("5", "power", ""), "unit_missing"),
        (sensor("7", "ph", ""), ""),
        (sensor("7", "aqi", "ppm"), "unit_unexpected"),
        (sensor("5", "temperature", "W"), "temperature_unit"),
        (sensor("101", "temperature", "°F"), ""),
        (sensor("300", "temperature", "K"), ""),
        (sensor("101", "temperature", "°C"), "temperature_range"),
        (
            sensor("-274", "temperature", "°C"),
            "temperature_below_absolute_zero,temperature_range",
        ),
        (sensor("101", "humidity", "%"), "percentage_range"),
        (sensor("-1", "battery", "%"), "percentage_range"),
        (sensor("1013", "atmospheric_pressure", "hPa"), ""),
        (sensor("29.92", "atmospheric_pressure", "inHg"), ""),
        (
            sensor("101325", "atmospheric_pressure", "hPa"),
            "pressure_range",
        ),
        (sensor("2.5", "pressure", "bar"), ""),
        (with("light.a", "on", &json!({"brightness": 255})), ""),
        (with("light.a", "off", &json!({"brightness": null})), ""),
        (
            with("light.a", "on", &json!({"brightness": 256})),
            "brightness_range",
        ),
        (
            with("light.a", "on", &json!({"brightness": "high"})),
            "brightness_range",
        ),
        (with("switch.a", "1", &none), "state_not_on_off"),
        (with("switch.a", "unavailable", &none), ""),
        (
            with(
                "climate.a",
                "heat_cool",
                &json!({"temperature": 72, "current_temperature": null}),
            ),
            "",
        ),
        (with("climate.a", "eco", &none), "climate_mode_unknown"),
        (
            with("climate.a", "heat", &json!({"temperature": "21"})),
            "climate_temperature_not_numeric",
        ),
        (
            with("climate.a", "heat", &json!({"target_temp_low": 123})),
            "climate_temperature_range",
        ),
        (with("weather.a", "sunny", &fahrenheit), ""),
        (
            with(
                "weather.a",
                "sunny",
                &json!({"temperature": 100, "temperature_unit": "°C"}),
            ),
            "weather_temperature_range",
        ),
        (
            with("weather.a", "sunny", &json!({"humidity": 101})),
            "weather_humidity_range",
        ),
        (
            with(
                "weather.a",
                "sunny",
                &json!({"pressure": 29.9, "pressure_unit": "inHg"}),
            ),
            "",
        ),
        (
            with(
                "weather.a",
                "sunny",
                &json!({"pressure": 29.9, "pressure_unit": "hPa"}),
            ),
            "weather_pressure_range",
        ),
        (counter("100", "101"), ""),
        (counter("100", "0"), "counter_reset"),
        (counter("100", "95"), "counter_decreased"),
        (counter("unavailable", "95"), ""),
        (
            event("light.a", Json::Null, state("unavailable", &restored)),
            "restart_artefact",
        ),
        (
            event(
                "light.a",
                state("unavailable", &restored),
                state("on", &none),
            ),
            "restart_artefact",
        ),
        (
            event("light.a", state("on", &none), state("unavailable", &none)),
            "",
        ),
        (
            event("light.a", state("unavailable", &none), state("on", &none)),
            "",
        ),
        (event("light.a", state("on", &none), Json::Null), ""),
    ];
    let mut seen = BTreeSet::new();
    for (event, expected) in &cases {
        assert_eq!(flags(event), *expected, "{event}");
        seen.extend(expected.split(',').filter(|id| !id.is_empty()));
    }
    let of_event = RULES
        .iter()
        .filter(|rule| rule.basis == Basis::Event)
        .map(|rule| rule.id);
    assert_eq!(seen, of_event.collect(), "every rule has its case");
}

#[test]
fn the_clock_is_asked_for_live_events_only_and_answers_in_its_own_field() {
    let event = with("switch.a", "broken", &json!({}));
    for (received, origin, expected) in [
        (UPDATED_NS - HOUR_NS + 1_000_000, Origin::Live, ""),
        (
            UPDATED_NS - HOUR_NS - 1_000_000,
            Origin::Live,
            "from_future",
        ),
        (UPDATED_NS + 24 * HOUR_NS, Origin::Live, ""),
        (
            UPDATED_NS + 24 * HOUR_NS + 1_000_000,
            Origin::Live,
            "out_of_date",
        ),
        (UPDATED_NS + 1_000 * HOUR_NS, Origin::Import, ""),
        (UPDATED_NS + 1_000 * HOUR_NS, Origin::Backfill, ""),
    ] {
        let (line, report) = report_of(&event, received, origin);
        assert_eq!(report.flags.of_basis(Basis::Clock).ids(), expected);
        assert_eq!(line.contains("clock_flags="), !expected.is_empty());
        assert!(
            line.contains("quality_flags=\"state_not_on_off\",quality_score=50.0"),
            "{line}"
        );
    }
}

#[test]
fn the_score_counts_by_severity_and_never_falls_below_zero() {
    for (event, score) in [
        (with("sensor.a", "1", &json!({})), 100.0),
        (counter("100", "0"), 100.0),
        (counter("100", "95"), 90.0),
        (sensor("warm", "temperature", "W"), 40.0),
        (with("light.a_", "x", &json!({"brightness": 300})), 0.0),
    ] {
        assert_eq!(
            report_of(&event, UPDATED_NS, Origin::Live).1.flags.score(),
            score,
            "{event}"
        );
    }
}

#[test]
fn ids_are_distinct_and_fit_for_a_label() {
    let ids: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), RULES.len());
    let is_label = |id: &str| {
        id.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    assert!(ids.into_iter().all(is_label));
}

#[test]
fn only_the_state_that_a_restart_puts_in_the_place_of_another_is_a_placeholder() {
    let state = |state: &str, attributes: &str| {
        format!(
            r#"{{"state":"{state}","attributes":{{{attributes}}},"last_changed":"2026-11-21T21:42:10+00:00","last_updated":"2026-11-21T21:42:10+00:00"}}"#
        )
    };
    let event = |old: &str, new: &str| {
        format!(
            r#"{{"event_type":"state_changed","data":{{"entity_id":"light.a","old_state":{old},"new_state":{new}}},"time_fired":"2026-11-21T21:42:10+00:00"}}"#
        )
    };
    let placeholder = state("unavailable", r#""restored":true,"friendly_name":"A""#);
    let real = state("on", r#""brightness":3"#);
    for (event, is_placeholder) in [
        (event("null", &placeholder), true),
        (event(&real, &placeholder), true),
        (event(&placeholder, &placeholder), true),
        // The state that takes its place may be news.
        (event(&placeholder, &real), false),
        (event(&placeholder, "null"), false),
        (event(&real, &state("unavailable", "")), false),
        (
            event(&real, &state("unavailable", r#""restored":false"#)),
            false,
        ),
        (event(&real, &state("on", r#""restored":true"#)), false),
        (
            event(&real, &state("unavailable", r#""x":{"restored":true}"#)),
            false,
        ),
        (
            r#"{"event_type":"a","data":{"restored":true}}"#.into(),
            false,
        ),
        (r#"{"restored":"#.into(), false),
    ] {
        assert_eq!(
            is_restart_placeholder(event.as_bytes()),
            is_placeholder,
            "{event}"
        );
    }
}
