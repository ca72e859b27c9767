//! The settings of enrichment, on the binary: what they add to points, and what is counted.

use crate::batches::{encoded, many, publish, state_changed};
use crate::{variables, worker};
use ha_batch::{Batch, Envelope, HomeFacts, Origin, WeatherFacts};
use ha_kit::{Place, Process, Stored, eventually};

/// Half a second before the events of [`state_changed`] with small numbers.
const OBSERVED_AT_US: i64 = 1_767_225_599_500_000;

fn batch(events: &[String]) -> Vec<u8> {
    let envelope = |json: &'_ String| Envelope {
        id: uuid::Uuid::from_u128(1),
        instance: "home".into(),
        run_id: Some(1),
        sequence: Some(1),
        received_at_ns: OBSERVED_AT_US * 1_000,
        origin: Origin::Live,
        json: json.clone().into_bytes().into(),
    };
    let mut batch = Batch::new(events.iter().map(envelope).collect());
    batch.home = Some(HomeFacts {
        weather: Some(WeatherFacts {
            observed_at_us: OBSERVED_AT_US,
            condition: "sunny".into(),
            attributes: r#"{"temperature":68,"temperature_unit":"°F","humidity":55}"#.into(),
        }),
        ..HomeFacts::default()
    });
    encoded(&batch)
}

async fn stored(place: &Place, count: usize) -> Vec<Stored> {
    eventually("the points", async || {
        (place.count().await == count).then_some(())
    })
    .await;
    place.points().await
}

/// The lines of /metrics that begin so.
async fn metrics(process: &Process, name: &str) -> Vec<String> {
    let (_, text) = process.get("/metrics").await;
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn units_contexts_and_weather_are_written_only_where_they_are_asked_for() {
    let place = Place::new().await;
    let mut all = variables(&place);
    all.extend([
        ("NORMALIZE_UNITS", "true".to_owned()),
        ("CONTEXT_FIELDS", "true".to_owned()),
        ("WEATHER_PROVIDER", "home-assistant".to_owned()),
        ("EXCLUDE_ATTRIBUTES", "unit_of_measurement".to_owned()),
    ]);
    let process = worker(&all);
    process.wait_until_ready().await;
    let events = [
        state_changed("sensor.a", "21.5", 1),
        state_changed("switch.b", "maybe", 2),
    ];
    let (_connection, channel) = place.channel().await;
    publish(&channel, &[batch(&events)]).await;
    let points = stored(&place, 2).await;
    let shown = |point: &Stored| {
        let columns = point.columns.iter();
        let added = columns.filter(|(name, _)| {
            ["weather_", "context_", "text_", "quality"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
                || name.ends_with("_normalized")
        });
        let added: Vec<_> = added
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        added.join(" ")
    };
    let weather = "weather_condition=\"sunny\" weather_humidity=55 weather_temperature=20";
    assert_eq!(
        shown(&points[0]),
        format!("context_id=\"x\" unit_normalized=\"W\" value_normalized=21.5 {weather}")
    );
    assert_eq!(
        shown(&points[1]),
        format!("context_id=\"x\" quality_flags=\"state_not_on_off\" quality_score=50 {weather}")
    );

    let name = "ha_ingestor_enrich_validation_errors_total";
    let rules = metrics(&process, name).await;
    assert_eq!(rules.len(), 30, "every rule has a counter from the start");
    let broken: Vec<_> = rules.iter().filter(|line| !line.ends_with(" 0")).collect();
    assert_eq!(broken, [&format!("{name}{{rule=\"state_not_on_off\"}} 1")]);
    let scores = metrics(&process, "ha_ingestor_enrich_quality_score_").await;
    for line in [
        "ha_ingestor_enrich_quality_score_sum 150",
        "ha_ingestor_enrich_quality_score_count 2",
        "ha_ingestor_enrich_quality_score_bucket{le=\"50\"} 1",
    ] {
        assert!(scores.contains(&line.to_owned()), "{line}\n{scores:?}");
    }
    let left_out = metrics(&process, "ha_ingestor_enrich_attributes_left_out_total").await;
    let excluded = "ha_ingestor_enrich_attributes_left_out_total{reason=\"excluded\"} 2";
    assert!(left_out.contains(&excluded.to_owned()), "{left_out:?}");
    let quality = &process.status().await["quality"];
    assert_eq!(
        (&quality["events"], &quality["score"]),
        (&2.into(), &75.0.into())
    );
    assert_eq!(quality["top_rules"][0]["rule"], "state_not_on_off");
    process.stop().await;

    let process = worker(&variables(&place));
    process.wait_until_ready().await;
    publish(&channel, &[batch(&[state_changed("sensor.c", "3", 3)])]).await;
    let points = stored(&place, 3).await;
    assert_eq!(shown(&points[2]), "text_unit_of_measurement=\"W\"");
    process.stop().await;
}

/// A database that has another type for an attribute, since somebody else wrote it: every state is
/// stored, the attribute is counted and named, and there is no dead letter.
#[tokio::test]
async fn an_attribute_of_another_type_costs_no_state_and_makes_no_dead_letter() {
    let place = Place::new().await;
    // InfluxDB 1.x looks no further than the same week.
    let before = "home_assistant_events,entity_id=x text_unit_of_measurement=7 1767225599000000000";
    let url = format!(
        "{}/write?db={}",
        place.services.influxdb_url(),
        place.database
    );
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(url).body(before).send().await.unwrap();
    assert!(answer.status().is_success());

    let process = worker(&variables(&place));
    process.wait_until_ready().await;
    let (_connection, channel) = place.channel().await;
    publish(&channel, &many(5)).await;
    let points = stored(&place, 500).await;
    let ours = points.iter().filter(|point| point.text("entity_id") != "x");
    for point in ours {
        assert!(!point.text("state").is_empty(), "{point:?}");
        assert_eq!(
            point.text("attributes_left_out"),
            r#"["unit_of_measurement"]"#
        );
    }
    let name = "ha_ingestor_enrich_attributes_left_out_total";
    let counted = eventually("the count", async || {
        let lines = metrics(&process, name).await;
        let line = format!("{name}{{reason=\"type_conflict\"}} 500");
        lines.contains(&line).then_some(())
    });
    counted.await;
    let dead_letters = metrics(&process, "ha_ingestor_dead_letters_total").await;
    assert!(
        !dead_letters.is_empty() && dead_letters.iter().all(|line| line.ends_with(" 0")),
        "{dead_letters:?}"
    );
    process.stop().await;
}
