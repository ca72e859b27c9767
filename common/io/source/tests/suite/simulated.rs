//! The source against the full simulator, under load, compared with the simulator's own ledger.

use crate::home::{DEADLINE, run};
use ha_simulator::{HouseOptions, Simulator, SimulatorOptions};
use ha_source::{SourceEvent, SourceOptions};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

fn options(simulator: &Simulator) -> SourceOptions {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let url = simulator.url().parse().unwrap();
    let mut options = SourceOptions::new(url, simulator.token().into(), Arc::new(tls));
    options.backoff_first = Duration::from_millis(2);
    options.backoff_max = Duration::from_millis(20);
    options
}

/// What one session handed on.
#[derive(Default)]
struct Session {
    events: Vec<bytes::Bytes>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_restarts_under_load_each_with_one_connection_and_nothing_missing() {
    const RESTARTS: usize = 10;
    let house = HouseOptions {
        entities: 50,
        ..HouseOptions::default()
    };
    let simulator = Simulator::start(SimulatorOptions {
        house,
        ..Default::default()
    })
    .await
    .unwrap();
    let firing = simulator.run_rate(2000.0, None);
    let mut source = run(options(&simulator));
    let mut sessions: Vec<Session> = Vec::new();
    let mut ended = 0;
    while let Some(event) = timeout(DEADLINE, source.events.recv())
        .await
        .expect("an event")
    {
        match event {
            SourceEvent::Connected { .. } => {
                let stats = simulator.stats();
                assert_eq!(stats.connections_open, 1, "{stats:?}");
                assert_eq!(
                    stats.subscriptions.get("state_changed"),
                    Some(&1),
                    "{stats:?}"
                );
                sessions.push(Session::default());
            }
            SourceEvent::Event(event) => {
                let session = sessions.last_mut().unwrap();
                session.events.push(event.json);
                if session.events.len() != 100 {
                    continue;
                }
                // By turns, in the middle of the stream, ten times; then the source stops.
                match sessions.len() - 1 {
                    RESTARTS => source.shutdown.cancel(),
                    clean if clean % 2 == 0 => {
                        simulator.restart(Duration::from_millis(30)).await.unwrap();
                    }
                    _ => simulator.kill_all(),
                }
            }
            SourceEvent::Disconnected { .. } => ended += 1,
            SourceEvent::Bad { error, excerpt, .. } => panic!("{error}: {excerpt}"),
        }
    }
    firing.abort();
    assert_eq!((sessions.len(), ended), (RESTARTS + 1, RESTARTS + 1));
    assert_eq!(
        simulator.stats().connections_accepted,
        (RESTARTS + 1) as u64
    );
    let ledger = simulator.ledger().events();
    for (index, session) in sessions.iter().enumerate() {
        let written = ledger
            .iter()
            .filter(|e| e.connection as usize == index + 1)
            .count();
        let unique: BTreeSet<_> = session.events.iter().collect();
        assert_eq!(
            unique.len(),
            session.events.len(),
            "session {index} repeats itself"
        );
        // Closed in good order, or stopped by us: everything that was written came out. Killed:
        // what was still on its way is the gap that the caller fills.
        if index % 2 == 0 {
            assert_eq!(session.events.len(), written, "session {index}");
        } else {
            assert!(session.events.len() <= written, "session {index}");
        }
    }
    source.task.await.unwrap();
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_an_old_version_without_coalescing() {
    let simulator = Simulator::start(SimulatorOptions {
        unknown_commands: vec!["supported_features".to_owned()],
        ..Default::default()
    })
    .await
    .unwrap();
    let mut source = run(options(&simulator));
    source.expect(&["connected 2024.3.3"]).await;
    simulator.fire(500);
    for _ in 0..500 {
        let event = source.next().await;
        assert!(
            event.starts_with(r#"{"event_type":"state_changed""#),
            "{event}"
        );
    }
    let states = source
        .requester
        .request("get_states", ().into())
        .await
        .unwrap();
    let states: Vec<serde_json::Value> = serde_json::from_slice(&states).unwrap();
    assert!(states.len() >= 100, "{}", states.len());
    let config = source
        .requester
        .request("get_config", ().into())
        .await
        .unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["version"], "2024.3.3");
    let unknown = source
        .requester
        .request("no_such_command", ().into())
        .await
        .unwrap_err();
    assert!(
        matches!(unknown, ha_source::RequestError::Refused(_)),
        "{unknown}"
    );
    source.stop().await;
    simulator.shutdown().await;
}
