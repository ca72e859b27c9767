//! Answers as the versions of InfluxDB give them.

use super::*;

fn answer(api: Api, status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let mut options = InfluxDbOptions::new("http://db", api, "home");
    options.token = Some("sekret".into());
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    judge(
        &options,
        StatusCode::from_u16(status).unwrap(),
        &map,
        body.as_bytes(),
        now,
    )
}

#[test]
fn refusals_name_the_setting_and_never_the_token() {
    for (api, status, body, expected) in [
        (
            Api::V2,
            401,
            r#"{"code":"unauthorized","message":"unauthorized access sekret"}"#,
            "check INFLUXDB_TOKEN",
        ),
        (
            Api::V2,
            403,
            r#"{"message":"forbidden"}"#,
            "grant write access",
        ),
        (
            Api::V2,
            404,
            r#"{"code":"not found","message":"bucket \"home\" not found"}"#,
            "INFLUXDB_BUCKET",
        ),
        (
            Api::V2,
            404,
            r#"{"message":"organization name \"x\" not found"}"#,
            "INFLUXDB_ORG",
        ),
        (Api::V2, 404, "404 page not found", "INFLUXDB_API=v1"),
        (
            Api::V1,
            404,
            r#"{"error":"database not found: \"home\""}"#,
            "INFLUXDB_BUCKET",
        ),
        (Api::V1, 404, "404 page not found", "INFLUXDB_API=v2"),
        (Api::V2, 405, "", "INFLUXDB_URL"),
        (Api::V2, 200, "<html>sekret</html>", "INFLUXDB_URL"),
    ] {
        let Answer::Refused { reason, remedy } = answer(api, status, &[], body) else {
            panic!("{status} {body}")
        };
        let reason = format!("{reason}; {remedy}");
        assert!(reason.contains(expected), "{reason}");
        assert!(!reason.contains("sekret"), "{reason}");
    }
    let Answer::Refused { reason, .. } = answer(Api::V2, 301, &[("location", "https://db/")], "")
    else {
        panic!()
    };
    assert!(reason.contains("redirected to https://db/"), "{reason}");
}

#[test]
fn retry_after_is_seconds_or_a_date_and_capped() {
    for (value, seconds) in [
        ("7", Some(7)),
        (" 100000", Some(600)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sun, 06 Nov 1994 08:40:37 GMT", Some(0)),
        ("Mon, 06 Nov 2034 08:40:37 GMT", Some(600)),
        ("-1", None),
        ("soon", None),
    ] {
        for status in [429, 503] {
            let Answer::Unavailable { retry_after, .. } =
                answer(Api::V2, status, &[("retry-after", value)], "")
            else {
                panic!("{value}")
            };
            assert_eq!(retry_after, seconds.map(Duration::from_secs), "{value}");
        }
    }
    for status in [408, 500, 502, 504, 507] {
        assert!(matches!(
            answer(Api::V1, status, &[], "x"),
            Answer::Unavailable { .. }
        ));
    }
}

#[test]
fn the_words_are_found_in_every_shape() {
    let words = |answer| match answer {
        Answer::Lines(words) => words,
        other => panic!("{other:?}"),
    };
    let v1 = words(answer(
        Api::V1,
        400,
        &[],
        r#"{"error":"partial write: x dropped=2"}"#,
    ));
    assert_eq!(v1.text, "partial write: x dropped=2");
    let header = words(answer(
        Api::V1,
        400,
        &[("x-influxdb-error", "from the header")],
        "",
    ));
    assert_eq!(header.text, "from the header");
    let v2 = words(answer(
        Api::V2,
        422,
        &[],
        r#"{"code":"invalid","message":"m","line":3}"#,
    ));
    assert_eq!(
        (v2.text.as_str(), v2.line_numbers.as_slice()),
        ("m", &[3][..])
    );
    let v3 = words(answer(
        Api::V2,
        400,
        &[],
        r#"{"error":"partial write","data":[{"error_message":"bad","line_number":2,"original_line":"x"}]}"#,
    ));
    assert_eq!(
        (v3.text.as_str(), v3.line_numbers.as_slice()),
        ("partial write; bad", &[2][..])
    );
    let success = words(answer(
        Api::V1,
        200,
        &[],
        r#"{"results":[{"error":"timeout"}]}"#,
    ));
    assert_eq!(success.text, "timeout");
    assert_eq!(
        answer(Api::V1, 200, &[], "{\"results\":[{}]}\n"),
        Answer::Stored
    );
    assert_eq!(answer(Api::V1, 200, &[], ""), Answer::Stored);
}

#[test]
fn long_words_keep_both_ends_and_retention_has_one_name() {
    let words = Words {
        text: format!("unable to parse '{}': why", "ä".repeat(90_000)),
        ..Words::default()
    };
    let short = words.for_point();
    assert!(
        short.len() < 1100 && short.starts_with("unable") && short.ends_with("': why"),
        "{short}"
    );
    for text in [
        "points beyond retention policy dropped=1",
        "dropped 1 points outside retention policy",
    ] {
        let words = Words {
            text: text.into(),
            ..Words::default()
        };
        assert!(words.is_about_lines());
        assert!(words.for_point().contains("beyond retention"));
    }
}
