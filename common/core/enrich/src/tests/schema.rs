//! The schema of Home Assistant's own integration. That the expectations are its points is shown
//! where both write one session into one database (`loadtest/cli/tests/suite/real_home`).

use super::capture::{capture, digest, envelope};
use crate::*;
use std::collections::BTreeMap;

fn lines(json: &str, schema: HomeAssistantSchema) -> Option<String> {
    let options = Options {
        schema: Schema::HomeAssistant(Box::new(schema)),
        ..Options::default()
    };
    let envelope = envelope(json, 1);
    let mut point = enrich(&envelope, None, &options).unwrap();
    point.seal().then(|| point.to_line())
}

fn event(entity_id: &str, state: &str, attributes: &str) -> String {
    format!(
        r#"{{"event_type":"state_changed","time_fired":"1970-01-01T00:00:02+00:00",
        "data":{{"entity_id":"{entity_id}","old_state":null,"new_state":{{"state":"{state}",
        "attributes":{attributes},"last_changed":"1970-01-01T00:00:01+00:00",
        "last_updated":"1970-01-01T00:00:01+00:00"}}}}}}"#
    )
}

fn line(entity_id: &str, state: &str, attributes: &str) -> String {
    let schema = HomeAssistantSchema::default();
    lines(&event(entity_id, state, attributes), schema).unwrap_or_default()
}

#[test]
fn states_and_attributes_become_what_the_integration_makes_of_them() {
    insta::assert_snapshot!(line("sensor.a", "21.5", r#"{"unit_of_measurement":"°C","device_class":"temperature"}"#), @r#"°C,domain=sensor,entity_id=a device_class_str="temperature",value=21.5 2000000000"#);
    insta::assert_snapshot!(line("light.b", "on", r#"{"brightness":255,"rgb_color":[5,0,0],"hs_color":[30.5,94],"effect":null,"x":true}"#), @r#"light.b,domain=light,entity_id=b brightness=255.0,effect_str="None",hs_color=30.594,hs_color_str="(30.5, 94)",rgb_color_str="(5, 0, 0)",state="on",value=1.0,x=1.0 2000000000"#);
    insta::assert_snapshot!(line("lock.c", "jammed", r#"{"state":7,"speed":"120 km/h","n":"1_000","inf":"inf","list":[1,"y"]}"#), @r#"lock.c,domain=lock,entity_id=c list_str="[1, 'y']",n=1000.0,speed=120.0,speed_str="120 km/h",state="jammed",state_=7.0 2000000000"#);
    // Of a state that is not finite nothing is left; a taken name gets a mark behind it.
    insta::assert_snapshot!(line("sensor.d", "nan", r#"{"a":1}"#), @"sensor.d,domain=sensor,entity_id=d a=1.0 2000000000");
    insta::assert_snapshot!(line("cover.e", "closed", r#"{"value":3,"value_":4}"#), @r#"cover.e,domain=cover,entity_id=e state="closed",value=0.0,value_=3.0,value__=4.0 2000000000"#);
    for skipped in ["unknown", "unavailable", ""] {
        assert_eq!(line("sensor.a", skipped, "{}"), "", "{skipped:?}");
    }
    let removed =
        event("sensor.a", "1", "{}").replace("\"new_state\":", "\"new_state\":null,\"x\":");
    let removed = removed.replace("\"old_state\":null", r#""old_state":{"state":"1"}"#);
    assert_eq!(lines(&removed, HomeAssistantSchema::default()), None);
    let bus = r#"{"event_type":"call_service","data":{},"time_fired":"1970-01-01T00:00:02+00:00"}"#;
    assert_eq!(lines(bus, HomeAssistantSchema::default()), None);
}

#[test]
fn every_setting_of_the_integration() {
    let json = event(
        "sensor.a",
        "1",
        r#"{"unit_of_measurement":"W","device_class":"power","area":"Küche","n":2,"z":null}"#,
    );
    let with = |schema: HomeAssistantSchema| lines(&json, schema).unwrap();
    let set = |name: &str| Some(name.to_owned());
    insta::assert_snapshot!(with(HomeAssistantSchema {
        measurement_attr: MeasurementAttribute::DomainDeviceClass,
        tags_attributes: ["area".into(), "z".into()].into(),
        tags: vec![("source".into(), "HA".into()), ("domain".into(), "all".into())],
        ..Default::default()
    }), @r#"sensor__power,area=Küche,domain=all,entity_id=a,source=HA n=2.0,unit_of_measurement_str="W",value=1.0 2000000000"#);
    insta::assert_snapshot!(with(HomeAssistantSchema {
        measurement_attr: MeasurementAttribute::EntityId,
        ignore_attributes: ["device_class".into(), "area".into(), "z".into()].into(),
        ..Default::default()
    }), @r#"sensor.a,domain=sensor,entity_id=a n=2.0,unit_of_measurement_str="W",value=1.0 2000000000"#);
    insta::assert_snapshot!(with(HomeAssistantSchema {
        override_measurement: set("all"),
        default_measurement: set("none"),
        ignore_attributes: ["device_class".into(), "area".into(), "z".into()].into(),
        ..Default::default()
    }), @r#"all,domain=sensor,entity_id=a n=2.0,unit_of_measurement_str="W",value=1.0 2000000000"#);
    let unitless = HomeAssistantSchema {
        default_measurement: set("state"),
        ..Default::default()
    };
    insta::assert_snapshot!(lines(&event("sensor.a", "1", "{}"), unitless).unwrap(), @"state,domain=sensor,entity_id=a value=1.0 2000000000");
}

/// The shared capture: the first lines as they are, and of all a digest a domain.
#[test]
fn golden() {
    let events = capture();
    let all: Vec<String> = events
        .iter()
        .filter_map(|json| lines(json, HomeAssistantSchema::default()))
        .collect();
    let mut domains: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for line in &all {
        let domain = line.split(",domain=").nth(1).unwrap();
        let domain = domain.split(',').next().unwrap();
        domains.entry(domain).or_default().push(line);
    }
    let mut text = all[..20].join("\n");
    for (domain, lines) in domains {
        let count = lines.len();
        text.push_str(&format!("\n{domain} {count} {}", digest(lines.into_iter())));
    }
    insta::assert_snapshot!("homeassistant", text);
    assert!(all.len() < events.len(), "some states are skipped");
}
