//! A real InfluxDB 1.x, by its own API and in the shape of v2.

use std::collections::BTreeMap;

use crate::support::{buffer, indices, rejected, text_point, written};
use ha_point::{Format, Point, PointBuffer, Prefix, Value};
use ha_services::{INFLUXDB_ORG, Service, Services};
use ha_sink::query::{QueryError, Series};
use ha_sink::{Api, InfluxDb, InfluxDbOptions, LeftOutReason, Sink, WriteOutcome};

async fn services() -> &'static Services {
    crate::support::install_tls_provider();
    Services::shared().await.unwrap()
}

fn options(services: &Services, api: Api, database: &str) -> InfluxDbOptions {
    match api {
        Api::V1 => InfluxDbOptions::new(services.influxdb_url(), api, database),
        Api::V2 => InfluxDbOptions {
            token: Some(services.influxdb_token().to_owned()),
            org: Some(INFLUXDB_ORG.to_owned()),
            ..InfluxDbOptions::new(services.influxdb_v2_url(), api, database)
        },
    }
}

/// A sink with a database of its own.
async fn fresh(services: &Services, api: Api) -> Sink {
    let database = Services::unique_name("sink");
    services.create_database(&database).await.unwrap();
    Sink::InfluxDb(InfluxDb::new(options(services, api, &database)).unwrap())
}

async fn query(sink: &Sink, influxql: &str) -> Result<Vec<Series>, QueryError> {
    let Sink::InfluxDb(influxdb) = sink else {
        panic!("not InfluxDB")
    };
    let mut all = Vec::new();
    influxdb.query(influxql, |series| all.push(series)).await?;
    Ok(all)
}

#[tokio::test]
async fn every_text_comes_back_as_it_went() {
    let services = services().await;
    let long = "long ♥ \"text\" \\ ".repeat(200 * 1024 / 19 + 1);
    let texts = [
        "plain",
        "\"quoted\"",
        "comma, equals = space ",
        "back\\slash",
        "ends in \\",
        "\\\\",
        "\\\"",
        "new\nline",
        "\r\n",
        "tab\there",
        "emoji 🏠🔥 Zürich °C",
        "#",
        "null",
        "",
        " ",
        "a,b=c value=\"x\" 1",
        long.as_str(),
    ];
    for api in [Api::V1, Api::V2] {
        let sink = fresh(services, api).await;
        let mut points = PointBuffer::new(Format::LineProtocol);
        for (time_ns, text) in (1..).zip(texts) {
            // Tags cannot carry line breaks and trailing backslashes; commas, quotes and more they can.
            text_point(&mut points, "mea sure,ment", "a, \"b\"=c 🏠", text, time_ns);
        }
        written(&sink, &points).await;
        written(&sink, &points).await;
        let series = query(&sink, "SELECT text FROM \"mea sure,ment\" GROUP BY *")
            .await
            .unwrap();
        let rows: Vec<_> = series.iter().flat_map(|series| &series.values).collect();
        assert_eq!(rows.len(), texts.len(), "{api:?}");
        assert_eq!(
            series[0].tags,
            BTreeMap::from([("label".into(), "a, \"b\"=c 🏠".into())])
        );
        for ((time_ns, text), row) in (1..).zip(texts).zip(rows) {
            assert_eq!(row[0], time_ns, "{api:?}");
            assert_eq!(row[1], text, "{api:?}");
        }
    }
}

#[tokio::test]
async fn a_type_conflict_isolates_exactly_the_bad_lines() {
    let services = services().await;
    for api in [Api::V1, Api::V2] {
        let sink = fresh(services, api).await;
        written(&sink, &buffer(Format::LineProtocol, 1, &[])).await;
        let bad = [1, 500, 999];
        let points = rejected(sink.write(&buffer(Format::LineProtocol, 1000, &bad)).await);
        assert_eq!(indices(&points), bad, "{api:?}");
        for point in &points {
            assert!(point.error.contains("field type conflict"), "{point:?}");
        }
        let count = query(&sink, "SELECT count(value) FROM m").await.unwrap();
        assert_eq!(count[0].values[0][1], 997, "{api:?}");
    }
}

/// An attribute that somebody else wrote with another type: the states are stored without it, none
/// is rejected, and the next batch costs no refused write.
#[tokio::test]
async fn a_type_conflict_of_an_attribute_costs_no_point() {
    let services = services().await;
    for api in [Api::V1, Api::V2] {
        let sink = fresh(services, api).await;
        let batch = |from: i64| {
            let mut points = PointBuffer::new(Format::LineProtocol);
            for n in from..from + 500 {
                let mut point = Point::new("m", 1_700_000_000_000_000_000 + n);
                point.tag("entity", format!("e{}", n % 7));
                point.field("state", Value::Text(format!("s{n}").into()));
                point.prefixed(Prefix::Attribute, "a".into(), Value::Float(1.0));
                if n % 10 == 3 {
                    let value = Value::Text("text, attr_a=1".into());
                    point.prefixed(Prefix::Text, "x \"y\", z=1".into(), value);
                }
                assert!(points.push(point));
            }
            points
        };
        // Under one name a number, written by somebody else.
        let mut before = PointBuffer::new(Format::LineProtocol);
        let mut point = Point::new("m", 1_700_000_000_000_000_000);
        point.prefixed(Prefix::Text, "x \"y\", z=1".into(), Value::Float(7.0));
        assert!(before.push(point));
        written(&sink, &before).await;

        written(&sink, &batch(0)).await;
        written(&sink, &batch(500)).await;
        let left_out = sink.take_left_out();
        assert_eq!(left_out.count(LeftOutReason::TypeConflict), 100, "{api:?}");
        let counts = query(
            &sink,
            "SELECT count(state), count(attr_a), count(attributes_left_out) FROM m",
        )
        .await
        .unwrap();
        assert_eq!(counts[0].values[0][1..], [1000, 1000, 100], "{api:?}");
        let named = query(
            &sink,
            "SELECT attributes_left_out, state FROM m WHERE state = 's13'",
        )
        .await
        .unwrap();
        assert_eq!(named[0].values[0][1], r#"["x \"y\", z=1"]"#, "{api:?}");
    }
}

/// In a database of its own, which counts the requests.
#[tokio::test]
async fn three_bad_lines_of_a_thousand_take_three_requests() {
    crate::support::install_tls_provider();
    let services = Services::start_private(&[Service::InfluxDb]).await.unwrap();
    let sink = fresh(&services, Api::V1).await;
    written(&sink, &buffer(Format::LineProtocol, 1, &[])).await;
    let requests = async || {
        let series = query(&sink, "SHOW STATS FOR 'httpd'").await.unwrap();
        let column = series[0]
            .columns
            .iter()
            .position(|name| name == "writeReq")
            .unwrap();
        series[0].values[0][column].as_u64().unwrap()
    };
    let before = requests().await;
    let bad = [1, 500, 999];
    let points = rejected(sink.write(&buffer(Format::LineProtocol, 1000, &bad)).await);
    assert_eq!(indices(&points), bad);
    assert_eq!(requests().await - before, 3);
}

#[tokio::test]
async fn points_beyond_retention_are_rejected_by_that_word() {
    let services = services().await;
    let sink = fresh(services, Api::V2).await;
    let Sink::InfluxDb(influxdb) = &sink else {
        panic!()
    };
    let database = &influxdb.options().bucket;
    services
        .query(
            database,
            &format!(
                "ALTER RETENTION POLICY autogen ON \"{database}\" DURATION 1d SHARD DURATION 1h"
            ),
        )
        .await
        .unwrap();
    let now_ns = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now_ns = i64::try_from(now_ns.as_nanos()).unwrap();
    let mut points = PointBuffer::new(Format::LineProtocol);
    for index in 0..100 {
        let age_ns = if index % 40 == 7 {
            90 * 86_400_000_000_000
        } else {
            0
        };
        text_point(&mut points, "m", "t", "x", now_ns - age_ns + index);
    }
    let points = rejected(sink.write(&points).await);
    assert_eq!(indices(&points), [7, 47, 87]);
    assert!(
        points
            .iter()
            .all(|point| point.error.contains("beyond retention")),
        "{points:?}"
    );
    assert_eq!(
        query(&sink, "SELECT count(text) FROM m").await.unwrap()[0].values[0][1],
        97
    );
}

#[tokio::test]
async fn a_wrong_token_bucket_organisation_or_api_is_refused_with_the_remedy() {
    let services = services().await;
    let right = options(services, Api::V2, ha_services::INFLUXDB_BUCKET);
    let points = buffer(Format::LineProtocol, 2, &[]);
    for (wrong, variable) in [
        (
            InfluxDbOptions {
                token: Some("stale-token".into()),
                ..right.clone()
            },
            "INFLUXDB_TOKEN",
        ),
        (
            InfluxDbOptions {
                token: None,
                ..right.clone()
            },
            "INFLUXDB_TOKEN (none is set)",
        ),
        (
            InfluxDbOptions {
                bucket: "nowhere".into(),
                ..right.clone()
            },
            "INFLUXDB_BUCKET",
        ),
        (
            InfluxDbOptions {
                org: Some("nobody".into()),
                ..right.clone()
            },
            "INFLUXDB_ORG",
        ),
        (
            InfluxDbOptions {
                url: services.influxdb_url(),
                ..right.clone()
            },
            "INFLUXDB_API=v1",
        ),
        (
            InfluxDbOptions {
                api: Api::V1,
                ..right.clone()
            },
            "INFLUXDB_API=v2",
        ),
        (options(services, Api::V1, "nowhere"), "INFLUXDB_BUCKET"),
    ] {
        let sink = Sink::InfluxDb(InfluxDb::new(wrong).unwrap());
        let outcome = sink.write(&points).await;
        let WriteOutcome::Refused { reason } = outcome else {
            panic!("{variable}: {outcome:?}")
        };
        assert!(
            reason.contains(variable) && !reason.contains("stale-token"),
            "{reason}"
        );
        let error = sink.probe().await.unwrap_err();
        assert!(
            !error.transient && error.remedy.contains(variable),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_probe_accepts_what_a_write_would_be_accepted_from() {
    let services = services().await;
    for api in [Api::V1, Api::V2] {
        let sink = fresh(services, api).await;
        let report = sink.probe().await.unwrap();
        assert!(
            report
                .steps
                .iter()
                .any(|step| step.contains("without points")),
            "{report:?}"
        );
        assert_eq!(report.version.is_some(), api == Api::V1, "{report:?}");
        assert!(
            query(&sink, "SHOW MEASUREMENTS").await.unwrap().is_empty(),
            "nothing was stored"
        );
    }
    let name = Services::unique_name("sink\"made");
    let influxdb = InfluxDb::new(options(services, Api::V1, &name)).unwrap();
    assert!(influxdb.probe().await.is_err());
    influxdb.create_bucket().await.unwrap();
    influxdb.probe().await.unwrap();
}

#[tokio::test]
async fn long_answers_come_in_pieces_and_errors_are_errors() {
    let services = services().await;
    for api in [Api::V1, Api::V2] {
        let sink = fresh(services, api).await;
        let mut points = PointBuffer::new(Format::LineProtocol);
        for time_ns in 1..=23_456 {
            text_point(
                &mut points,
                "m",
                if time_ns % 2 == 0 { "even" } else { "odd" },
                "x",
                time_ns,
            );
        }
        written(&sink, &points).await;
        let pieces = query(&sink, "SELECT text FROM m").await.unwrap();
        assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.values.len() <= 5000));
        let times: Vec<_> = pieces
            .iter()
            .flat_map(|piece| &piece.values)
            .map(|row| row[0].as_i64())
            .collect();
        assert_eq!(times, (1..=23_456).map(Some).collect::<Vec<_>>());
        let by_tag = query(&sink, " select count(text) from m group by label")
            .await
            .unwrap();
        assert_eq!(by_tag.len(), 2);
        let long = format!("SELECT text FROM m WHERE text = '{}'", "y".repeat(10_000));
        assert!(query(&sink, &long).await.unwrap().is_empty(), "posted");
        assert!(matches!(
            query(&sink, "SELEC").await,
            Err(QueryError::Failed(_))
        ));
        let mut wrong = options(services, api, "nowhere");
        let elsewhere = Sink::InfluxDb(InfluxDb::new(wrong.clone()).unwrap());
        let error = query(&elsewhere, "SELECT * FROM m").await.unwrap_err();
        assert!(error.to_string().contains("database not found"), "{error}");
        wrong.token = Some("stale".into());
        let refused = query(
            &Sink::InfluxDb(InfluxDb::new(wrong).unwrap()),
            "SHOW DATABASES",
        )
        .await;
        assert_eq!(
            matches!(refused, Err(QueryError::Refused(_))),
            api == Api::V2,
            "{refused:?}"
        );
    }
}
