//! Weather of a provider: written beside events, never waited for, and never contradicted.

use crate::support::{DeadLetters, SOON, batch_of, embedded, encoded, options, state_changed};
use axum::Router;
use ha_batch::Origin;
use ha_enrich::Options;
use ha_pipeline::{AckHandle, LatencyRecorder, Outcome, Pipeline, Work};
use ha_sink::Sink;
use ha_weather::{Freshness, Provider, Weather, WeatherOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, timeout};

/// Half a minute before the events.
const OBSERVED_AT_S: i64 = 1_767_225_570;

const PLACE: (f64, f64) = (52.52, 13.41);

/// A provider that answers when it is let, always with this temperature; how often it was asked.
async fn provider(celsius: f64) -> (Weather, Arc<Semaphore>, Arc<AtomicUsize>) {
    let (let_through, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (gate, count) = (Arc::clone(&let_through), Arc::clone(&asked));
    let handler = move || {
        let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            format!(
                r#"{{"current":{{"time":{OBSERVED_AT_S},"temperature_2m":{celsius},"weather_code":3}}}}"#
            )
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    let weather = Weather::new(WeatherOptions {
        provider: Provider::OpenMeteo,
        key: None,
        url: Some(url.parse().unwrap()),
        place: Some(PLACE),
        tls: None,
    });
    (weather.unwrap(), let_through, asked)
}

async fn until_known(weather: &Weather) {
    let deadline = Instant::now() + SOON;
    while weather.observed(None).unwrap().freshness != Freshness::Fresh {
        assert!(Instant::now() < deadline, "no answer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[derive(Debug, Clone, Copy)]
struct Pass {
    is_first: bool,
}

impl AckHandle for Pass {
    fn is_first_pass(&self) -> bool {
        self.is_first
    }
}

struct Running {
    work: mpsc::Sender<Work<Pass>>,
    outcomes: mpsc::Receiver<Outcome<Pass>>,
    _task: JoinHandle<()>,
}

impl Running {
    fn start(sink: &Arc<Sink>, weather: Weather) -> Self {
        let pipeline = Pipeline::new(
            Arc::clone(sink),
            Arc::new(DeadLetters::default()),
            Arc::new(Options::default()),
            options(),
            Arc::new(LatencyRecorder::new().unwrap()),
        );
        let pipeline = pipeline.with_weather(Some(weather));
        let (work, input) = mpsc::channel(10);
        let (output, outcomes) = mpsc::channel(10);
        let task = tokio::spawn(async move { pipeline.run(input, output).await });
        Self {
            work,
            outcomes,
            _task: task,
        }
    }

    /// Returns when every event of the batch is stored.
    async fn store(&mut self, payload: Vec<u8>, is_first: bool) {
        let (payload, ack_handle) = (payload.into(), Pass { is_first });
        let work = Work {
            payload,
            replay: None,
            ack_handle,
        };
        self.work.send(work).await.unwrap();
        let outcome = timeout(SOON, self.outcomes.recv()).await.expect("in time");
        assert!(matches!(outcome, Some(Outcome::Settled(_))), "{outcome:?}");
    }
}

fn batch(n: u32, origin: Origin) -> Vec<u8> {
    let events = [state_changed("sensor.a", "1", n)];
    let mut batch = batch_of(&events);
    batch.envelopes[0].origin = origin;
    encoded(&batch)
}

/// The temperature beside each event, in the order of time; and the observations stored.
fn temperatures(path: &Path) -> (Vec<Option<f64>>, i64) {
    let database = rusqlite::Connection::open(path).unwrap();
    let mut statement = database
        .prepare(
            "SELECT json_extract(fields, '$.weather_temperature') FROM points \
             WHERE measurement = 'home_assistant_events' ORDER BY time_ns",
        )
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    let observations = "SELECT count(*) FROM points WHERE measurement = 'weather' \
        AND json_extract(fields, '$.temperature') IS NOT NULL";
    let observations = database
        .query_row(observations, [], |row| row.get(0))
        .unwrap();
    (rows.map(Result::unwrap).collect(), observations)
}

#[tokio::test]
async fn events_are_stored_while_the_provider_is_still_being_asked() {
    let (_dir, path, sink) = embedded().await;
    let (weather, let_through, asked) = provider(2.5).await;
    let mut running = Running::start(&Arc::new(sink), weather.clone());
    for n in 0..5 {
        running.store(batch(n, Origin::Live), true).await;
    }
    // Nobody has let the provider answer: all of this was stored without it.
    assert_eq!(temperatures(&path), (vec![None; 5], 0));
    assert!(
        asked.load(Ordering::SeqCst) <= 1,
        "one question for all of them"
    );
    let_through.add_permits(1);
    until_known(&weather).await;
    running.store(batch(5, Origin::Live), true).await;
    running.store(batch(6, Origin::Live), true).await;
    let (beside, observations) = temperatures(&path);
    assert_eq!(beside[4..], [None, Some(2.5), Some(2.5)]);
    assert_eq!(observations, 1, "an observation is a point once");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// Two workers that know different weather of the same time, as after an answer that the provider
/// has revised.
#[tokio::test]
async fn a_second_pass_contradicts_no_first_one_whatever_their_order() {
    let (_dir, path, sink) = embedded().await;
    let sink = Arc::new(sink);
    let mut workers = Vec::new();
    for celsius in [2.5, 9.5] {
        let (weather, let_through, _) = provider(celsius).await;
        let_through.add_permits(1);
        until_known(&weather).await;
        workers.push(Running::start(&sink, weather));
    }
    let [first, second] = &mut workers[..] else {
        panic!()
    };
    first.store(batch(1, Origin::Live), true).await;
    second.store(batch(1, Origin::Live), false).await;
    second.store(batch(2, Origin::Live), false).await;
    first.store(batch(2, Origin::Live), true).await;
    // What comes from the history may have come live before.
    second.store(batch(3, Origin::Backfill), true).await;
    first.store(batch(3, Origin::Live), true).await;
    assert_eq!(temperatures(&path).0, [Some(2.5); 3]);
}
