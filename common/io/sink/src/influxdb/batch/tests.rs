//! Which attributes are left out for which answer.

use super::*;
use crate::influxdb::answer::words_of;
use ha_point::{Format, LineField, Point, PointBuffer, Prefix, Value};
use std::time::Instant;

const RECORDED: &str = include_str!("../../../tests/fixtures/refused-writes.json");

/// A line with three attributes, the second of them a text.
fn buffer() -> PointBuffer {
    let mut point = Point::new("home_assistant_events", 7);
    point.tag("entity_id", "light.a");
    point.field("state", Value::Text("on".into()));
    point.field("value", Value::Float(1.0));
    for (name, value) in [("a", 1.0), ("c=\"d\"", 3.0)] {
        point.prefixed(Prefix::Attribute, name.into(), Value::Float(value));
    }
    point.prefixed(Prefix::Text, "b".into(), Value::Text("x, attr_c=2".into()));
    let mut buffer = PointBuffer::new(Format::LineProtocol);
    assert!(buffer.push(point));
    buffer
}

fn lines(buffer: &PointBuffer) -> &Lines {
    match buffer {
        PointBuffer::Lines(lines) => lines,
        PointBuffer::Rows(_) => panic!("rows"),
    }
}

fn conflict_of(field: &str) -> Cause<'_> {
    Cause::Field(field, LeftOutReason::TypeConflict)
}

/// The line after each of these answers to its write by itself; ends with the first that it cannot be
/// made smaller for.
fn steps(attributes: AttributeFields, causes: &[Cause<'_>]) -> Vec<String> {
    let buffer = buffer();
    let refusals = Refusals::new(attributes);
    let mut batch = Batch::new(lines(&buffer), attributes);
    let mut steps = Vec::new();
    for cause in causes {
        if !batch.leave_out_refused(0, cause, &refusals) {
            break;
        }
        let text = String::from_utf8(batch.line(0).to_vec()).unwrap();
        let start = "home_assistant_events,entity_id=light.a ";
        let fields = text.strip_prefix(start).unwrap().strip_suffix(" 7\n");
        steps.push(fields.unwrap().to_owned());
    }
    steps
}

#[test]
fn recorded_answers_name_what_was_refused() {
    use LeftOutReason::{InvalidField, TypeConflict};
    let recorded: Vec<serde_json::Value> = serde_json::from_str(RECORDED).unwrap();
    let field = |name, reason| Some(Cause::Field(name, reason));
    for (case, cause) in [
        ("type_conflict_only", field("v", TypeConflict)),
        ("type_conflict_among_good", field("v", TypeConflict)),
        ("type_conflict_one_field_of_many", field("v", TypeConflict)),
        ("v1_type_conflict", field("v", TypeConflict)),
        ("field_named_time", field("time", InvalidField)),
        ("only_field_time", field("time", InvalidField)),
        ("string_field_2MB", field("s", InvalidField)),
        ("v2_type_conflict_only", field("v", TypeConflict)),
        ("v2_type_conflict_among_good", field("v", TypeConflict)),
        (
            "v2_type_conflict_one_field_of_many",
            field("v", TypeConflict),
        ),
        ("v2_tag_becomes_field", field("t", TypeConflict)),
        ("v2_field_becomes_tag", field("v", TypeConflict)),
        ("v2_wide_beyond_500", Some(Cause::Columns)),
        ("v2_wide_beyond_500_among_good", Some(Cause::Columns)),
        ("v1_bad", None),
        (
            "v3_nopartial_type_conflict_among_good",
            field("v", TypeConflict),
        ),
        (
            "v3_nopartial_wide_beyond_500_among_good",
            Some(Cause::Columns),
        ),
    ] {
        let answer = recorded.iter().find(|answer| answer["case"] == case);
        let answer = answer.unwrap()["answer"].as_str().unwrap();
        let words = words_of(&reqwest::header::HeaderMap::new(), answer.as_bytes());
        assert_eq!(Cause::of(&words), cause, "{case}");
        assert!(words.is_about_lines(), "{case}");
    }
    let unparsable = "unable to parse 'm columns=1,limit=2': invalid number; type conflict";
    let words = Words {
        text: unparsable.to_owned(),
        ..Words::default()
    };
    assert_eq!(Cause::of(&words), None, "a line may hold any words");
}

#[test]
fn what_the_answer_names_is_left_out_and_named_and_nothing_else() {
    let own = |names: &str| format!("attributes_left_out=\"[{names}]\",state=\"on\",value=1.0");
    let b = "text_b=\"x, attr_c=2\"";
    assert_eq!(
        steps(
            AttributeFields::Prefixed,
            &[
                conflict_of("attr_c=\"d\""),
                conflict_of("text_b"),
                conflict_of("text_b")
            ]
        ),
        [
            format!(
                "attr_a=1.0,{},{b},value=1.0",
                r#"attributes_left_out="[\"c=\\\"d\\\"\"]",state="on""#
            ),
            format!("attr_a=1.0,{}", own(r#"\"c=\\\"d\\\"\",\"b\""#)),
        ]
    );
    // The state's own fields are never left out; a field that is not in the line cannot be.
    for name in ["state", "value", "attr_c", "attr_b", "c", "entity_id"] {
        assert!(
            steps(AttributeFields::Prefixed, &[conflict_of(name)]).is_empty(),
            "{name}"
        );
    }
    // Somebody else's field of that name.
    assert_eq!(
        steps(
            AttributeFields::Prefixed,
            &[conflict_of("attr_a"), conflict_of("attributes_left_out")]
        )[1],
        format!(r#"attr_c\="d"=3.0,state="on",{b},value=1.0"#)
    );
}

#[test]
fn where_none_is_named_all_are_left_out_then_their_names_then_it_is_a_dead_letter() {
    let all = [
        Cause::Columns,
        Cause::Columns,
        Cause::Columns,
        Cause::Columns,
    ];
    let expected = [
        r#"attributes_left_out="[\"a\",\"c=\\\"d\\\"\",\"b\"]",state="on",value=1.0"#,
        r#"state="on",value=1.0"#,
    ];
    assert_eq!(steps(AttributeFields::Prefixed, &all), expected);
    let some_type = [Cause::SomeType, Cause::SomeType, Cause::SomeType];
    assert_eq!(steps(AttributeFields::Prefixed, &some_type), expected);
}

#[test]
fn in_the_other_schema_every_field_but_the_states_is_an_attribute_and_none_is_added() {
    assert_eq!(
        steps(
            AttributeFields::Unprefixed,
            &[conflict_of("text_b"), Cause::Columns, Cause::Columns]
        ),
        [
            r#"attr_a=1.0,attr_c\="d"=3.0,state="on",value=1.0"#,
            r#"state="on",value=1.0"#,
        ]
    );
    for name in ["state", "value"] {
        assert!(
            steps(AttributeFields::Unprefixed, &[conflict_of(name)]).is_empty(),
            "{name}"
        );
    }
    // A number in `state` is an attribute of that name: the state itself is in `value` then.
    let field = |value| LineField {
        name: b"state",
        value,
    };
    assert!(
        AttributeFields::Unprefixed
            .attribute(&field(b"1.0"))
            .is_some()
    );
    assert!(
        AttributeFields::Unprefixed
            .attribute(&field(b"\"1\""))
            .is_none()
    );
}

#[test]
fn after_a_few_that_are_named_all_are_left_out() {
    let mut point = Point::new("m", 1);
    point.field("state", Value::Text("on".into()));
    for n in 0..100 {
        point.prefixed(Prefix::Attribute, format!("n{n}").into(), Value::Float(1.0));
    }
    let mut buffer = PointBuffer::new(Format::LineProtocol);
    assert!(buffer.push(point));
    let mut refusals = Refusals::new(AttributeFields::Prefixed);
    let mut batch = Batch::new(lines(&buffer), AttributeFields::Prefixed);
    for n in 0..=NAMED_MAX {
        let name = format!("attr_n{n}");
        assert!(batch.leave_out_refused(0, &conflict_of(&name), &refusals));
    }
    assert_eq!(batch.parts(0).unwrap().fields.len(), 2);
    let left_out = batch.left_out(&HashSet::new());
    assert_eq!(left_out.count(LeftOutReason::TypeConflict), 100);
    // Only those that an answer named are remembered.
    let (parts, reduction) = batch.proven(0).unwrap();
    refusals.refused(&parts, reduction, Instant::now());
    assert_eq!(refusals.known(&parts).len(), NAMED_MAX + 1);
    assert_eq!(batch.left_out(&HashSet::from([0])), LeftOut::default());
}
