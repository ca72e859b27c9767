//! The cache and its tasks against a server on this machine, in the shapes of the providers'
//! documentation.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use axum::Router;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ha_weather::{Freshness, Observed, Provider, Weather, WeatherOptions};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const BERLIN: Option<(f64, f64)> = Some((52.52, 13.41));

const OPEN_METEO: &str = r#"{"latitude":52.52,"longitude":13.419,"current":{"time":1795297500,
    "interval":900,"temperature_2m":2.4,"relative_humidity_2m":86,"is_day":1,"weather_code":3}}"#;

/// A server that answers so; the queries that it was asked.
async fn server<F, A>(answer: F) -> (String, Arc<Mutex<Vec<String>>>)
where
    F: Fn(usize) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send,
{
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    let handler = move |RawQuery(query): RawQuery| {
        let (log, answer) = (Arc::clone(&log), answer.clone());
        async move {
            let number = {
                let mut log = log.lock().unwrap();
                log.push(query.unwrap_or_default());
                log.len()
            };
            answer(number).await
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    (url, asked)
}

fn weather(provider: Provider, url: &str) -> Weather {
    Weather::new(WeatherOptions {
        provider,
        key: Some("sekret".into()),
        url: Some(url.parse().unwrap()),
        place: None,
        tls: None,
    })
    .unwrap()
}

async fn until(
    weather: &Weather,
    place: Option<(f64, f64)>,
    wanted: impl Fn(&Observed) -> bool,
) -> Observed {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let observed = weather.observed(place).expect("a place");
        if wanted(&observed) {
            return observed;
        }
        assert!(Instant::now() < deadline, "still {observed:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_first_look_is_a_miss_and_one_question_answers_everybody() {
    let (url, asked) = server(|_| async { OPEN_METEO.into_response() }).await;
    let weather = weather(Provider::OpenMeteo, &url);
    assert!(weather.observed(None).is_none(), "no place, no weather");
    for _ in 0..100 {
        let first = weather.observed(BERLIN).unwrap();
        assert_eq!(
            (first.observations.len(), first.freshness),
            (0, Freshness::Unknown)
        );
    }
    let known = until(&weather, BERLIN, |o| o.freshness == Freshness::Fresh).await;
    assert_eq!(known.observations[0].condition, "cloudy");
    assert_eq!(known.observations[0].observed_at_us, 1_795_297_500_000_000);
    // A neighbour, and nowhere on earth.
    let neighbour = weather.observed(Some((52.5199, 13.4101))).unwrap();
    assert_eq!(neighbour.freshness, Freshness::Fresh);
    assert!(weather.observed(Some((91.0, 0.0))).is_none());
    assert!(weather.observed(Some((f64::NAN, 0.0))).is_none());
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].starts_with("latitude=52.52&longitude=13.41&current="),
        "{asked:?}"
    );
}

#[tokio::test]
async fn whatever_goes_wrong_is_a_miss_and_is_not_asked_again_at_once() {
    let owm = r#"{"dt":1795297500,"weather":[{"id":800,"icon":"01d"}],"main":{"temp":3}}"#;
    let long = "x".repeat(100 << 10);
    let retry = [("retry-after", "600")];
    let answers: [Response; 6] = [
        (
            StatusCode::UNAUTHORIZED,
            r#"{"cod":401,"message":"Invalid API key."}"#,
        )
            .into_response(),
        (StatusCode::TOO_MANY_REQUESTS, retry, "slow down").into_response(),
        (StatusCode::INTERNAL_SERVER_ERROR, "").into_response(),
        (StatusCode::FOUND, [("location", "http://example.com/")]).into_response(),
        "<html>".into_response(),
        long.into_response(),
    ];
    for answer in answers {
        let answer = Arc::new(Mutex::new(Some(answer)));
        let (url, asked) = server(move |_| {
            let answer = answer.lock().unwrap().take();
            async move { answer.unwrap_or(owm.into_response()) }
        })
        .await;
        let weather = weather(Provider::OpenWeatherMap, &url);
        let failed = until(&weather, BERLIN, |o| o.freshness == Freshness::Failing).await;
        assert!(failed.observations.is_empty());
        assert!(weather.observed(BERLIN).unwrap().observations.is_empty());
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up_and_nobody_waits_for_it() {
    let (url, asked) = server(|_| std::future::pending::<Response>()).await;
    let weather = weather(Provider::OpenMeteo, &url);
    let began = Instant::now();
    let failed = until(&weather, BERLIN, |o| o.freshness == Freshness::Failing).await;
    assert!(failed.observations.is_empty());
    // Given up after its two seconds; nobody who asked meanwhile waited.
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(asked.lock().unwrap().len() <= 1);
}

#[tokio::test]
async fn no_more_is_asked_a_minute_than_the_limit() {
    let (url, asked) = server(|_| async { OPEN_METEO.into_response() }).await;
    let weather = weather(Provider::OpenMeteo, &url);
    let places: Vec<_> = (0..40).map(|n| Some((f64::from(n), 0.0))).collect();
    for place in &places {
        let _ = weather.observed(*place);
    }
    let mut fresh = 0;
    for place in &places {
        let settled = until(&weather, *place, |o| o.freshness != Freshness::Unknown).await;
        fresh += usize::from(settled.freshness == Freshness::Fresh);
    }
    // A slow run may be granted another question or two.
    assert!((30..40).contains(&fresh), "{fresh}");
    assert_eq!(asked.lock().unwrap().len(), fresh);
}

#[tokio::test]
async fn the_key_is_in_the_question_and_nowhere_else() {
    let refused = (StatusCode::UNAUTHORIZED, "no");
    let (url, asked) = server(move |_| async move { refused.into_response() }).await;
    let weather = weather(Provider::OpenWeatherMap, &url);
    until(&weather, BERLIN, |o| o.freshness == Freshness::Failing).await;
    assert!(asked.lock().unwrap()[0].contains("appid=sekret"));
    assert!(!format!("{weather:?}").contains("sekret"));
}
