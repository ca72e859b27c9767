//! Units, weather and the explanation.

use crate::*;
use ha_batch::{Origin, WeatherFacts};
use ha_point::Value;

const EVENT: &str = r#"{"event_type":"state_changed","data":{"entity_id":"sensor.a","old_state":null,
 "new_state":{"state":"68","attributes":{"unit_of_measurement":"°F","device_class":"temperature"},"last_changed":"2026-11-21T21:42:10+00:00","last_updated":"2026-11-21T21:42:10+00:00"}},
 "time_fired":"2026-11-21T21:42:10+00:00"}"#;
const EVENT_US: i64 = 1_795_297_330_000_000;

fn envelope() -> Envelope<'static> {
    Envelope {
        id: Default::default(),
        instance: "home".into(),
        run_id: None,
        sequence: None,
        received_at_ns: EVENT_US * 1_000,
        origin: Origin::Live,
        json: EVENT.as_bytes().into(),
    }
}

fn home(
    observed_at_us: i64,
    condition: &'static str,
    attributes: &'static str,
) -> HomeFacts<'static> {
    let weather = WeatherFacts {
        observed_at_us,
        condition: condition.into(),
        attributes: attributes.into(),
    };
    HomeFacts {
        weather: Some(weather),
        ..HomeFacts::default()
    }
}

fn fields(home: Option<&HomeFacts<'_>>, options: &Options) -> (String, WeatherOutcome) {
    let envelope = envelope();
    let (mut point, report) = enrich_with_report(&envelope, home, options).unwrap();
    point
        .fields
        .retain(|(key, _)| key.name.starts_with("weather") || key.name.contains("normalized"));
    point.seal();
    let shown: Vec<_> = point
        .fields
        .iter()
        .map(|(key, value)| match value {
            Value::Float(number) => format!("{}={number:.1}", key.name),
            Value::Text(text) => format!("{}={text}", key.name),
            other => format!("{other:?}"),
        })
        .collect();
    (shown.join(" "), report.weather)
}

#[test]
fn weather_is_of_the_hour_before_the_event_or_it_is_not_written() {
    use WeatherOutcome::{Empty, Missing, NotWanted, OtherTime, Used};
    let full = Options::default();
    let attributes = r#"{"temperature":70,"temperature_unit":"°F","humidity":92,"wind":[1,{}]}"#;
    let written = "weather_condition=sunny weather_humidity=92.0 weather_temperature=21.1";
    let hour = 3_600_000_000;
    for (observed_at_us, condition, attributes, expected) in [
        (EVENT_US, "sunny", attributes, (written, Used)),
        (EVENT_US - hour, "sunny", attributes, (written, Used)),
        (EVENT_US - hour - 1, "sunny", attributes, ("", OtherTime)),
        (EVENT_US + 1, "sunny", attributes, ("", OtherTime)),
        (EVENT_US, "unavailable", attributes, ("", Empty)),
        (
            EVENT_US,
            "fog",
            r#"{"temperature":null}"#,
            ("weather_condition=fog", Used),
        ),
        (EVENT_US, "fog", "no JSON", ("weather_condition=fog", Used)),
    ] {
        let home = home(observed_at_us, condition, attributes);
        let (shown, outcome) = fields(Some(&home), &full);
        assert_eq!(
            (shown.as_str(), outcome),
            expected,
            "{condition} {attributes}"
        );
    }
    assert_eq!(fields(None, &full), (String::new(), Missing));
    assert_eq!(
        fields(Some(&HomeFacts::default()), &full),
        (String::new(), Missing)
    );
    let home = home(EVENT_US, "sunny", attributes);
    for options in [
        Options {
            weather: false,
            ..full.clone()
        },
        Options {
            depth: Depth::Plain,
            ..full
        },
    ] {
        assert_eq!(fields(Some(&home), &options), (String::new(), NotWanted));
    }
}

#[test]
fn units_are_normalized_where_that_is_wanted() {
    let wanted = Options {
        normalize_units: true,
        ..Options::default()
    };
    assert_eq!(
        fields(None, &wanted).0,
        "unit_normalized=°C value_normalized=20.0"
    );
    assert_eq!(fields(None, &Options::default()).0, "");
}

#[test]
fn an_explanation_shows_each_stage_and_the_line_that_is_written() {
    let home = home(EVENT_US, "sunny", "{}");
    let options = Options {
        normalize_units: true,
        ..Options::default()
    };
    let explanation = explain(&envelope(), Some(&home), &options).unwrap();
    let shown: Vec<_> = explanation
        .stages
        .iter()
        .map(|stage| {
            let StageOutcome {
                stage,
                ran,
                tags,
                fields,
                notes,
            } = stage;
            format!(
                "{stage} {ran} {} {} {}",
                tags.join(","),
                fields.join(","),
                notes.join(",")
            )
        })
        .collect();
    let shown: Vec<_> = shown.iter().map(|line| line.trim_end()).collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    identify true device_class=temperature,domain=sensor,entity_id=sensor.a,instance=home
    normalize true  state="68",value=68.0
    derive true
    attributes true  attributes_complete=true,text_unit_of_measurement="°F",text_device_class="temperature"
    units true  value_normalized=20.0,unit_normalized="°C"
    validate true
    weather true  weather_condition="sunny" observed within the hour before the event
    quality true
    provenance true  enriched=true
    "#);
    let envelope = envelope();
    let mut point = enrich(&envelope, Some(&home), &options).unwrap();
    point.seal();
    assert_eq!(explanation.line, Some(point.to_line()));

    let plain = explain(
        &envelope,
        None,
        &Options {
            depth: Depth::Plain,
            ..options
        },
    )
    .unwrap();
    let ran = |name: &str| {
        plain
            .stages
            .iter()
            .find(|stage| stage.stage == name)
            .unwrap()
            .ran
    };
    assert_eq!((ran("normalize"), ran("validate")), (true, false));
}
