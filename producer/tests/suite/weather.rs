//! Weather beside events: the home's own, and a provider's, which is a server on this machine that
//! answers in the shape of Open-Meteo's documentation.

use crate::support::{Files, Variables, home, producer, service_worker_with, wait_until_settled};
use ha_kit::{Place, Process, Stored, eventually, free_port};
use ha_simulator::Simulator;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Observed a minute ago, 2.5 °C and overcast; one answer a connection.
pub async fn open_meteo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let observed_at_s = now.as_secs() - 60;
    let body = format!(
        r#"{{"current":{{"time":{observed_at_s},"temperature_2m":2.5,"relative_humidity_2m":86,"weather_code":3}}}}"#
    );
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut question = [0; 4_096];
            let _ = connection.read(&mut question).await;
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    url
}

fn asked(open_meteo: String) -> Variables {
    vec![
        ("WEATHER_PROVIDER", "open-meteo".into()),
        ("WEATHER_URL", open_meteo),
        ("WEATHER_LATITUDE", "52.52".into()),
        ("WEATHER_LONGITUDE", "13.41".into()),
    ]
}

/// Fires events until the weather stands beside one that was written with it, by whoever enriches.
async fn until_hit(home: &Simulator, process: &Process, enriching: &Process) {
    process.wait_until_ready().await;
    eventually("weather beside events", async || {
        home.fire(5);
        wait_until_settled(process, home).await;
        let (_, metrics) = enriching.get("/metrics").await;
        let hit = "ha_ingestor_weather_lookups_total{outcome=\"hit\"} ";
        let hits = metrics.lines().find_map(|line| line.strip_prefix(hit))?;
        (hits != "0").then_some(())
    })
    .await;
}

/// A home of its own: what is settled is compared with all that a home has fired.
async fn weather_of(provider: Variables) -> Vec<String> {
    let (home, files) = (home().await, Files::new());
    let mut variables = files.embedded(&home, "inline");
    variables.extend(provider);
    let process = producer(&variables);
    until_hit(&home, &process, &process).await;
    process.stop().await;
    beside(&files.points())
}

/// Condition and temperature of the points that have them.
fn beside(points: &[Stored]) -> Vec<String> {
    let beside = points
        .iter()
        .filter(|point| point.columns.contains_key("weather_condition"));
    beside
        .map(|point| {
            let temperature = &point.columns["weather_temperature"];
            format!("{} {temperature}", point.text("weather_condition"))
        })
        .collect()
}

#[tokio::test]
async fn the_weather_stands_beside_events_whoever_tells_it() {
    let own = vec![("WEATHER_PROVIDER", "home-assistant".into())];
    assert!(!weather_of(own).await.is_empty());

    let beside = weather_of(asked(open_meteo().await)).await;
    assert!(!beside.is_empty());
    assert!(
        beside.iter().all(|weather| weather == "cloudy 2.5"),
        "{beside:?}"
    );
}

/// The worker asks, and writes what it was told beside events that came over HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn the_weather_stands_beside_events_that_came_over_http() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let (port, token) = (free_port(), "a-token-of-the-tests");
    let weather = asked(open_meteo().await);
    let worker = service_worker_with(&place, &files, port, token, &weather);
    worker.wait_until_ready().await;
    let mut variables = files.variables(&home, "service");
    variables.extend([
        ("ENRICHMENT_SERVICE_URL", format!("http://127.0.0.1:{port}")),
        ("INTAKE_TOKEN", token.to_owned()),
    ]);
    let process = producer(&variables);
    until_hit(&home, &process, &worker).await;
    process.stop().await;
    worker.stop().await;
    let beside = beside(&place.points().await);
    assert!(!beside.is_empty());
    assert!(
        beside.iter().all(|weather| weather == "cloudy 2.5"),
        "{beside:?}"
    );
}
