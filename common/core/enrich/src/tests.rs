mod capture;
mod merge;
mod rules;
mod schema;
mod stages;

use super::*;
use ha_batch::Origin;
use proptest::prelude::*;
use std::borrow::Cow;

fn line(json: &str, change: impl Fn(&mut Envelope<'_>, &mut Options)) -> String {
    let mut envelope = Envelope {
        id: Default::default(),
        instance: "home".into(),
        run_id: Some(9),
        sequence: Some(4),
        received_at_ns: 1,
        origin: Origin::Live,
        json: Cow::Borrowed(json.as_bytes()),
    };
    let mut options = Options::default();
    change(&mut envelope, &mut options);
    let mut point = enrich(&envelope, None, &options).unwrap();
    assert!(point.seal());
    point.to_line()
}

const SENSOR: &str = r#"{"event_type":"state_changed","data":{"entity_id":"sensor.a",
 "old_state":{"state":"20","attributes":{"unit_of_measurement":"°C","n":1,"device_class":"temperature"},"last_changed":"1970-01-01T00:00:01+00:00","last_updated":"1970-01-01T00:00:01+00:00"},
 "new_state":{"state":"21.5","attributes":{"unit_of_measurement":"°C","n":2,"on":true,"none":null,"list":[1,"x"],"device_class":"temperature"},"last_changed":"1970-01-01T00:00:03.5+00:00","last_updated":"1970-01-01T00:00:03.5+00:00"}},
 "time_fired":"1970-01-01T00:00:04+00:00","context":{"id":"c1","parent_id":null,"user_id":"u1"}}"#;

#[test]
fn a_state_change_becomes_one_point() {
    let same = |_: &mut Envelope<'_>, _: &mut Options| {};
    insta::assert_snapshot!(line(SENSOR, same), @r#"home_assistant_events,device_class=temperature,domain=sensor,entity_id=sensor.a,instance=home attr_n=2.0,attr_on=1.0,duration_in_state_s=2.5,enriched=true,epoch=9i,sequence=4i,state="21.5",text_list="[1,\"x\"]",value=21.5 3500000000"#);
    insta::assert_snapshot!(line(SENSOR, |_, options| options.depth = Depth::Plain), @r#"home_assistant_events,device_class=temperature,domain=sensor,entity_id=sensor.a,instance=home attr_n=2.0,attr_on=1.0,duration_in_state_s=2.5,epoch=9i,sequence=4i,state="21.5",text_list="[1,\"x\"]",value=21.5 3500000000"#);
    insta::assert_snapshot!(line(SENSOR, |_, options| {
        options.attributes = AttributePolicy::All;
        options.exclude_attributes.insert("list".into());
    }), @r#"home_assistant_events,device_class=temperature,domain=sensor,entity_id=sensor.a,instance=home attr_n=2.0,attr_on=1.0,duration_in_state_s=2.5,enriched=true,epoch=9i,sequence=4i,state="21.5",text_device_class="temperature",text_unit_of_measurement="°C",value=21.5 3500000000"#);
    insta::assert_snapshot!(line(SENSOR, |envelope, options| {
        options.attributes = AttributePolicy::None;
        options.context_fields = true;
        envelope.origin = Origin::Backfill;
        (envelope.run_id, envelope.sequence) = (None, None);
    }), @r#"home_assistant_events,device_class=temperature,domain=sensor,entity_id=sensor.a,instance=home context_id="c1",context_user_id="u1",duration_in_state_s=2.5,enriched=true,origin="backfill",state="21.5",value=21.5 3500000000"#);
}

#[test]
fn creation_removal_unavailability_and_attribute_only_updates() {
    let same = |_: &mut Envelope<'_>, _: &mut Options| {};
    let state = |state: &str, changed: u32, updated: u32| {
        format!(
            r#"{{"state":"{state}","attributes":{{"device_class":"door","x":{updated}}},"last_changed":"1970-01-01T00:00:{changed:02}+00:00","last_updated":"1970-01-01T00:00:{updated:02}+00:00"}}"#
        )
    };
    let event = |old: &str, new: &str| {
        format!(
            r#"{{"event_type":"state_changed","data":{{"entity_id":"binary_sensor.d","old_state":{old},"new_state":{new}}},"time_fired":"1970-01-01T00:00:30+00:00"}}"#
        )
    };
    insta::assert_snapshot!(line(&event("null", &state("on", 2, 2)), same), @r#"home_assistant_events,device_class=door,domain=binary_sensor,entity_id=binary_sensor.d,instance=home attr_x=2.0,attributes_complete=true,enriched=true,epoch=9i,sequence=4i,state="on",text_device_class="door",value=1.0 2000000000"#);
    insta::assert_snapshot!(line(&event(&state("on", 2, 2), "null"), same), @r#"home_assistant_events,device_class=door,domain=binary_sensor,entity_id=binary_sensor.d,instance=home duration_in_state_s=28.0,enriched=true,epoch=9i,removed=true,sequence=4i 30000000000"#);
    insta::assert_snapshot!(line(&event(&state("on", 2, 2), &state("unavailable", 5, 5)), same), @r#"home_assistant_events,device_class=door,domain=binary_sensor,entity_id=binary_sensor.d,instance=home attr_x=5.0,available=false,duration_in_state_s=3.0,enriched=true,epoch=9i,sequence=4i,state="unavailable" 5000000000"#);
    insta::assert_snapshot!(line(&event(&state("on", 2, 2), &state("on", 2, 7)), same), @r#"home_assistant_events,device_class=door,domain=binary_sensor,entity_id=binary_sensor.d,instance=home attr_x=7.0,enriched=true,epoch=9i,sequence=4i,state="on",value=1.0 7000000000"#);
}

#[test]
fn other_events_keep_their_data_and_stay_apart_within_a_microsecond() {
    let event = |n: u32| {
        format!(
            r#"{{"event_type":"call_service","data":{{"n":{n}}},"time_fired":"1970-01-01T00:00:02+00:00","context":{{"id":"c"}}}}"#
        )
    };
    let same = |_: &mut Envelope<'_>, _: &mut Options| {};
    let lines: Vec<_> = (0..3).map(|n| line(&event(n), same)).collect();
    insta::assert_snapshot!(lines[0], @r#"home_assistant_bus,event_type=call_service,instance=home context_id="c",data="{\"n\":0}",epoch=9i,sequence=4i 2000000015"#);
    let times: std::collections::HashSet<_> = lines
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(times.len(), 3);
}

#[test]
fn records_of_the_producer_are_told_from_events_of_the_same_name() {
    let numberless = |envelope: &mut Envelope<'_>, _: &mut Options| {
        (envelope.run_id, envelope.sequence) = (None, None);
    };
    let record = |event_type: &str, data: &str| {
        format!(
            r#"{{"event_type":"{event_type}","data":{data},"time_fired":"1970-01-01T00:00:02.000001Z"}}"#
        )
    };
    let entity = EntityRecord {
        entity_id: "light.a".into(),
        area: Some("Küche, \"links\"".into()),
        unit: Some("°C".into()),
        ..EntityRecord::default()
    };
    let entity = record(ENTITY_RECORD, &serde_json::to_string(&entity).unwrap());
    insta::assert_snapshot!(line(&entity, numberless), @r#"home_assistant_entities,entity_id=light.a,instance=home area="Küche, \"links\"",unit="°C" 2000001000"#);
    insta::assert_snapshot!(line(&entity, |_, _| {}), @r#"home_assistant_bus,event_type=ha_ingestor_entity,instance=home data="{\"entity_id\":\"light.a\",\"area\":\"Küche, \\\"links\\\"\",\"unit\":\"°C\"}",epoch=9i,sequence=4i 2000001850"#);
    let quality = QualityRecord {
        run_id: 5,
        sequence_last: 7,
        capture: Some(99.5),
        ..QualityRecord::default()
    };
    let quality = record(QUALITY_RECORD, &serde_json::to_string(&quality).unwrap());
    insta::assert_snapshot!(line(&quality, numberless), @r#"data_quality,instance=home capture=99.5,epoch=5i,filtered=0i,lost=0i,received=0i,sequence_last=7i,settled=0i 2000001000"#);
    // Another shape is somebody else's event.
    let other = line(&record(QUALITY_RECORD, "7"), numberless);
    assert!(other.starts_with("home_assistant_bus,"), "{other}");
}

proptest! {
    #[test]
    fn identity_does_not_depend_on_the_way(sequence in proptest::option::of(1_u64..), received_at_ns: i64, plain: bool, all: bool) {
        let identity = |line: &str| {
            let tags = line.split(' ').next().unwrap().to_owned();
            (tags, line.rsplit(' ').next().unwrap().to_owned())
        };
        let changed = line(SENSOR, |envelope, options| {
            envelope.sequence = sequence;
            envelope.received_at_ns = received_at_ns;
            envelope.origin = if sequence.is_some() { Origin::Live } else { Origin::Import };
            options.depth = if plain { Depth::Plain } else { Depth::Full };
            options.attributes = if all { AttributePolicy::All } else { AttributePolicy::None };
        });
        prop_assert_eq!(identity(&changed), identity(&line(SENSOR, |_, _| {})));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let envelope = Envelope { id: Default::default(), instance: "h".into(), run_id: None, sequence: None, received_at_ns: 0, origin: Origin::Rest, json: Cow::Owned(bytes) };
        let _ = enrich(&envelope, None, &Options::default());
    }
}
