//! A database that takes no more columns, or has another type for an attribute: the state is stored.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use ha_point::{Format, Point, PointBuffer, Prefix, Value};
use ha_sink::{AttributeFields, InfluxDb, InfluxDbOptions, LeftOut, LeftOutReason, Sink};

use crate::fake::{Fake, options, sink, v2};
use crate::support::{indices, rejected, written};
use crate::tables::{Server, Tables};
use ha_sink::Api;

const MEASUREMENT: &str = "home_assistant_events";
const RECORDED: &str = include_str!("../fixtures/refused-writes.json");

/// A state of an entity of its own, with the attributes given to it.
fn state(buffer: &mut PointBuffer, n: usize, attributes: &[(&str, Value<'static>)]) {
    let mut point = Point::new(MEASUREMENT, 1_700_000_000_000_000_000 + n as i64);
    point.tag("entity_id", format!("sensor.s{n}"));
    point.field("state", Value::Text(format!("s{n}").into()));
    point.field("sequence", Value::Integer(n as i64));
    for (name, value) in attributes {
        let prefix = match value {
            Value::Text(_) => Prefix::Text,
            _ => Prefix::Attribute,
        };
        point.prefixed(prefix, (*name).to_owned().into(), value.clone());
    }
    assert!(buffer.push(point));
}

fn buffer() -> PointBuffer {
    PointBuffer::new(Format::LineProtocol)
}

/// A server of these tables, and a sink that writes to it.
async fn serve(tables: Tables) -> (Fake, Arc<Mutex<Tables>>, Sink) {
    let tables = Arc::new(Mutex::new(tables));
    let asked = Arc::clone(&tables);
    let fake = Fake::start(move |seen| match asked.lock().unwrap().write(&seen.body) {
        None => StatusCode::NO_CONTENT.into_response(),
        Some((status, body)) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
    })
    .await;
    let sink = v2(&fake.url);
    (fake, tables, sink)
}

fn counts(left_out: &LeftOut) -> [u64; 3] {
    LeftOutReason::ALL.map(|reason| left_out.count(reason))
}

/// What a database of 500 columns did to 700 events, each with an attribute of its own name: 209 of
/// them were lost as bad.
#[tokio::test]
async fn seven_hundred_attributes_for_five_hundred_columns_cost_no_state_and_few_requests() {
    for (batch, naming_column) in [
        (1, false),
        (1, true),
        (50, false),
        (700, false),
        (700, true),
    ] {
        let core = Server::Core { columns_max: 500 };
        let mut tables = Tables::new(core);
        if naming_column {
            tables.write(&format!("{MEASUREMENT} attributes_left_out=\"[]\" 1"));
            tables.points.clear();
        }
        let (fake, tables, sink) = serve(tables).await;
        let write = async |from: usize, to: usize| {
            let mut points = buffer();
            for n in from..to {
                let name = format!("own_{n}");
                state(&mut points, n, &[(&name, Value::Float(1.0))]);
            }
            written(&sink, &points).await;
        };
        for n in (0..700).step_by(batch) {
            write(n, n + batch).await;
        }
        let tables = |what: &str| {
            let tables = tables.lock().unwrap();
            assert_eq!(tables.columns(MEASUREMENT), 500, "{what}");
            assert_eq!(tables.points.len(), 700, "{what}");
            for ((series, _), fields) in &tables.points {
                let (_, n) = series.split_once("sensor.s").unwrap();
                assert_eq!(fields["state"], format!("\"s{n}\""), "{what}");
                assert_eq!(fields["sequence"], format!("{n}i"), "{what}");
                let is_named = fields.get("attributes_left_out");
                let has_it = fields.contains_key(&format!("attr_own_{n}"));
                let name = format!("\"[\\\"own_{n}\\\"]\"");
                assert_eq!(
                    is_named,
                    (naming_column && !has_it).then_some(&name),
                    "{what}"
                );
            }
            let with_attribute = |fields: &&std::collections::BTreeMap<String, String>| {
                fields.keys().any(|name| name.starts_with("attr_"))
            };
            tables.points.values().filter(with_attribute).count() as u64
        };
        let what = format!("batches of {batch}, naming column {naming_column}");
        let stored = tables(&what);
        // The time, one tag, state and sequence are columns, too.
        assert_eq!(stored, 496 - u64::from(naming_column), "{what}");
        assert_eq!(
            counts(&sink.take_left_out()),
            [700 - stored, 0, 0],
            "{what}"
        );
        let requests = fake.requests();
        assert!(requests <= 700 / batch + 80, "{what}: {requests} requests");

        // Again: what was stored before is stored with its attribute, and no write is refused.
        for n in (0..700).step_by(batch) {
            write(n, n + batch).await;
        }
        assert_eq!(tables(&what), stored);
        assert_eq!(
            counts(&sink.take_left_out()),
            [700 - stored, 0, 0],
            "{what}"
        );
        let again = fake.requests() - requests;
        assert!(again <= 700 / batch + 10, "{what}: {again} requests");
    }
}

/// By the words of either database: good lines beside bad ones, attributes beside others.
#[tokio::test]
async fn an_attribute_of_another_type_is_left_out_named_and_remembered() {
    for server in [Server::V2, Server::Core { columns_max: 500 }] {
        let mut tables = Tables::new(server);
        tables.write(&format!(
            "{MEASUREMENT} attr_b=\"x\",text_c=1,sequence=1i 1"
        ));
        tables.points.clear();
        let (fake, tables, sink) = serve(tables).await;
        let batch = |from: usize| {
            let mut points = buffer();
            for n in from..from + 100 {
                let (a, b) = (("a", Value::Float(1.0)), ("b", Value::Float(2.0)));
                let c = ("c", Value::Text("t, attr_b=1".into()));
                match n % 10 {
                    3 => state(&mut points, n, &[a, b]),
                    7 => state(&mut points, n, &[b, a, c]),
                    _ => state(&mut points, n, &[a]),
                }
            }
            points
        };
        written(&sink, &batch(0)).await;
        let requests = fake.requests();
        assert!(requests <= 20, "{server:?}: {requests}");
        written(&sink, &batch(100)).await;
        assert_eq!(fake.requests(), requests + 1, "{server:?}: remembered");
        assert_eq!(counts(&sink.take_left_out()), [0, 60, 0], "{server:?}");
        let tables = tables.lock().unwrap();
        assert_eq!(tables.points.len(), 200);
        for ((series, _), fields) in &tables.points {
            let (_, n) = series.split_once("sensor.s").unwrap();
            assert_eq!(fields["state"], format!("\"s{n}\""));
            assert_eq!(fields["attr_a"], "1.0");
            assert!(!fields.contains_key("attr_b") && !fields.contains_key("text_c"));
            let named = match n.as_bytes() {
                [.., b'3'] => Some(r#""[\"b\"]""#),
                [.., b'7'] => Some(r#""[\"b\",\"c\"]""#),
                _ => None,
            };
            let left_out = fields.get("attributes_left_out").map(String::as_str);
            assert_eq!(left_out, named, "{server:?} {n}");
        }
    }
}

/// What is not an attribute is not left out: such a point is rejected, as before.
#[tokio::test]
async fn a_state_that_conflicts_itself_is_rejected_with_the_databases_words() {
    for server in [Server::V2, Server::Core { columns_max: 500 }] {
        let mut tables = Tables::new(server);
        tables.write(&format!("{MEASUREMENT} state=1 1"));
        let (_fake, tables, sink) = serve(tables).await;
        let mut points = buffer();
        state(&mut points, 0, &[("a", Value::Float(1.0))]);
        let mut other = Point::new(MEASUREMENT, 5);
        other.field("value", Value::Float(1.0));
        assert!(points.push(other));
        let points = rejected(sink.write(&points).await);
        assert_eq!(indices(&points), [0], "{server:?}");
        let is_named = ["type conflict", "invalid column type"]
            .iter()
            .any(|words| points[0].error.contains(words));
        assert!(is_named, "{points:?}");
        assert_eq!(tables.lock().unwrap().points.len(), 2);
        assert_eq!(sink.take_left_out(), LeftOut::default());
    }
}

/// The schema of Home Assistant's integration: fields have no prefix, and none may be added.
#[tokio::test]
async fn in_the_integrations_schema_attributes_are_left_out_without_being_named() {
    let mut tables = Tables::new(Server::V2);
    tables.write("W battery=\"x\",value=1 1\n°C value=\"x\" 1");
    tables.points.clear();
    let (fake, tables, _) = serve(tables).await;
    let sink = sink(InfluxDbOptions {
        attribute_fields: AttributeFields::Unprefixed,
        ..options(&fake.url, Api::V2)
    });
    let mut points = buffer();
    for measurement in ["W", "°C"] {
        let mut point = Point::new(measurement, 7);
        point.tag("entity_id", "a");
        point.field("value", Value::Float(1.0));
        point.field("battery", Value::Float(90.0));
        assert!(points.push(point));
    }
    // `value` is the state itself.
    assert_eq!(indices(&rejected(sink.write(&points).await)), [1]);
    assert_eq!(counts(&sink.take_left_out()), [0, 1, 0]);
    let tables = tables.lock().unwrap();
    let fields: Vec<_> = tables.points.values().collect();
    assert_eq!(fields, [&[("value".to_owned(), "1.0".to_owned())].into()]);
}

/// The answers of the real databases, one for each line that has the attribute, in front of a server
/// that takes every other line.
#[tokio::test]
async fn to_every_recorded_answer_the_state_is_stored() {
    let recorded: Vec<serde_json::Value> = serde_json::from_str(RECORDED).unwrap();
    let mut tried = 0;
    for answer in recorded {
        let case = answer["case"].as_str().unwrap().to_owned();
        let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
        let body = answer["answer"].as_str().unwrap().to_owned();
        // Those that name a field name it as their tests did.
        let named = ["v", "s", "t", "time"].into_iter().find(|name| {
            [format!("field \\\"{name}\\\""), format!("column '{name}'")]
                .iter()
                .any(|words| body.contains(words))
        });
        if named.is_none() && !body.contains("columns") {
            continue;
        }
        tried += 1;
        let name = named.unwrap_or("any");
        let refused = format!("{name}=1.0");
        let fake = Fake::start(move |seen| {
            let is_refused = |line: &str| line.contains(&format!(" {refused}"));
            if seen.body.lines().any(is_refused) {
                let status = StatusCode::from_u16(status).unwrap();
                return (status, body.clone()).into_response();
            }
            StatusCode::NO_CONTENT.into_response()
        })
        .await;
        let sink = Sink::InfluxDb(
            InfluxDb::new(InfluxDbOptions {
                attribute_fields: AttributeFields::Unprefixed,
                ..options(&fake.url, Api::V2)
            })
            .unwrap(),
        );
        let mut points = buffer();
        for n in 0..20_i64 {
            let mut point = Point::new("m", n);
            point.field("value", Value::Float(1.0));
            if n == 13 {
                point.prefixed(Prefix::Foreign, name.into(), Value::Float(1.0));
            }
            assert!(points.push(point));
        }
        written(&sink, &points).await;
        let last_of_13 = fake.seen().into_iter().rev().find_map(|seen| {
            let line = seen.body.lines().find(|line| line.ends_with(" 13"));
            line.map(str::to_owned)
        });
        assert_eq!(last_of_13.as_deref(), Some("m value=1.0 13"), "{case}");
        assert_eq!(
            counts(&sink.take_left_out()).iter().sum::<u64>(),
            1,
            "{case}"
        );
    }
    assert_eq!(tried, 16);
}
