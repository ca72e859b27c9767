//! Mode `service`: real workers behind one address, killed and brought back.

use crate::commands::{binary, run};
use crate::support::{
    Files, Variables, home, missing_or_wrong, producer, service_worker, wait_until_settled, with,
};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use ha_kit::{Place, Process, eventually, free_port};
use ha_simulator::Simulator;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "the-token-of-these-tests";

/// One address in front of several ports of this machine, as a Kubernetes service: each connection
/// goes to the next, whether somebody is there or not. It serves for as long as the runtime.
async fn one_address(ports: Vec<u16>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let port = ports[counted.fetch_add(1, Ordering::SeqCst) % ports.len()];
            tokio::spawn(async move {
                if let Ok(mut onward) = TcpStream::connect(("127.0.0.1", port)).await {
                    let _ = copy_bidirectional(&mut stream, &mut onward).await;
                }
            });
        }
    });
    (url, connections)
}

/// Events that this worker has stored, by its own count.
async fn stored_by(worker: &Process) -> u64 {
    let (_, metrics) = worker.get("/metrics").await;
    let name = r#"ha_ingestor_intake_events_total{result="stored"} "#;
    let count = metrics.lines().find_map(|line| line.strip_prefix(name));
    count.unwrap().parse().unwrap()
}

/// Points of what is no event of Home Assistant's.
async fn records(place: &Place) -> u64 {
    let statement = "SELECT count(friendly_name), count(epoch) \
                     FROM home_assistant_entities, data_quality";
    let answer = place
        .services
        .query(&place.database, statement)
        .await
        .unwrap();
    let series = answer.pointer("/results/0/series").unwrap();
    let counts = series.as_array().unwrap().iter().map(|series| {
        let row = &series["values"][0];
        row[1].as_u64().unwrap_or(0) + row[2].as_u64().unwrap_or(0)
    });
    counts.sum()
}

fn kill(process: &Process) {
    let pid = process.pid().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &pid])
        .status();
    assert!(killed.unwrap().success());
}

fn service(files: &Files, home: &Simulator, url: &str) -> Variables {
    let mut variables = files.variables(home, "service");
    variables.extend([
        ("ENRICHMENT_SERVICE_URL", url.to_owned()),
        ("INTAKE_TOKEN", TOKEN.to_owned()),
    ]);
    variables
}

/// Stops all when everything is settled; then every event of the home is an enriched point.
async fn all_stored_and_enriched(
    home: &Simulator,
    place: &Place,
    process: Process,
    workers: impl IntoIterator<Item = Process>,
) {
    wait_until_settled(&process, home).await;
    process.stop().await;
    for worker in workers {
        worker.stop().await;
    }
    let points = place.points().await;
    assert_eq!(missing_or_wrong(home, &points), [""; 0]);
    assert!(
        points
            .iter()
            .all(|point| point.columns.get("enriched") == Some(&true.into()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_behind_one_address_share_the_events_and_one_is_killed() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let ports = [free_port(), free_port(), free_port()];
    let mut workers = Vec::from(ports.map(|port| service_worker(&place, &files, port, TOKEN)));
    for worker in &workers {
        worker.wait_until_ready().await;
    }
    let (url, connections) = one_address(ports.to_vec()).await;
    let process = producer(&service(&files, &home, &url));
    process.wait_until_ready().await;

    let fired = home
        .run_rate(600.0, Some(Duration::from_secs(5)))
        .await
        .unwrap();
    wait_until_settled(&process, &home).await;
    let mut shares = Vec::new();
    for worker in &workers {
        shares.push(stored_by(worker).await);
    }
    // Besides the events, what the producer itself has to say.
    let records = records(&place).await;
    let all = fired + records;
    assert_eq!(shares.iter().sum::<u64>(), all, "{shares:?}");
    for share in &shares {
        assert!(
            share * 100 >= all * 20 && share * 100 <= all * 45,
            "{shares:?}"
        );
    }
    // A connection for each batch would be hundreds.
    let connected = connections.load(Ordering::SeqCst) as u64;
    assert!(
        connected < fired / 5,
        "{connected} connections: none is kept"
    );

    // Killed with requests in it; every third connection leads nowhere from here on.
    let firing = home.run_rate(600.0, Some(Duration::from_secs(3)));
    let (dying, before) = (workers.remove(1), shares[1]);
    eventually("events in the one that dies", async || {
        (stored_by(&dying).await > before + 100).then_some(())
    })
    .await;
    kill(&dying);
    firing.await.unwrap();
    all_stored_and_enriched(&home, &place, process, workers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_workers_events_wait_in_the_spool_and_stand_in_the_database() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let ports = [free_port(), free_port()];
    let start = || ports.map(|port| service_worker(&place, &files, port, TOKEN));
    let urls = ports
        .map(|port| format!("http://127.0.0.1:{port}"))
        .join(",");
    let variables = with(service(&files, &home, &urls), &place.influxdb());
    let workers = start();
    for worker in &workers {
        worker.wait_until_ready().await;
    }
    let process = producer(&variables);
    process.wait_until_ready().await;
    home.fire(200);
    wait_until_settled(&process, &home).await;

    for worker in &workers {
        kill(worker);
    }
    home.fire(500);
    process
        .wait_until_not_ready(&["workers", "ENRICHMENT_SERVICE_URL"])
        .await;
    eventually("all events in the spool", async || {
        let status = process.status().await;
        let (received, spooled) = (&status["events"]["received"], &status["spool"]["events"]);
        (*received == home.ledger().fired() && spooled.as_u64() >= Some(500)).then_some(())
    })
    .await;
    // Best effort, at once: dashboards stay alive.
    eventually("their plain points", async || {
        (place.count().await == 700).then_some(())
    })
    .await;
    assert!(process.status().await["events"]["direct_written"].as_u64() >= Some(1));

    let workers = start();
    process.wait_until_ready().await;
    all_stored_and_enriched(&home, &place, process, workers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_said_and_everything_kept() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let port = free_port();
    let worker = service_worker(&place, &files, port, TOKEN);
    let url = format!("http://127.0.0.1:{port}");
    let right = service(&files, &home, &url);
    let wrong = with(right.clone(), &[("INTAKE_TOKEN", "guessed".to_owned())]);
    let process = producer(&wrong);
    let said = process
        .wait_until_not_ready(&["workers", "401", "INTAKE_TOKEN"])
        .await;
    eventually("the subscription", async || {
        (!home.stats().subscriptions.is_empty()).then_some(())
    })
    .await;
    home.fire(50);
    eventually("all events in the spool", async || {
        (process.status().await["spool"]["events"] == 50).then_some(())
    })
    .await;
    let output = process.stop().await;
    let check = run("producer", &["check"], &wrong).await;
    assert_eq!(check.status.code(), Some(1), "{}", check.output);
    assert!(check.output.contains("FAIL worker: "), "{}", check.output);
    for text in [&said, &output, &check.output] {
        assert!(!text.contains("guessed") && !text.contains(TOKEN), "{text}");
    }

    let check = run("producer", &["check"], &right).await;
    assert_eq!(check.status.code(), Some(0), "{}", check.output);
    assert!(
        check
            .output
            .contains(&format!("ok   worker {url}: takes events")),
        "{}",
        check.output
    );
    let process = producer(&right);
    process.wait_until_ready().await;
    eventually("an empty spool", async || {
        (process.status().await["events"]["drained"] == 50).then_some(())
    })
    .await;
    process.stop().await;
    worker.stop().await;
    assert_eq!(missing_or_wrong(&home, &place.points().await), [""; 0]);
}

#[tokio::test]
async fn what_the_mode_needs_is_named() {
    let variables: Variables = vec![
        ("ENRICHMENT_MODE", "service".into()),
        ("FRAME_BYTES_MAX", "7000000".into()),
        ("EVENT_BYTES_MAX", "1000000".into()),
        ("INTAKE_TOKEN", "with a space".into()),
    ];
    let ended = Process::start(&binary("producer"), &["run"], &variables)
        .ended()
        .await;
    assert_eq!(ended.status.code(), Some(2), "{}", ended.output);
    for said in [
        "ENRICHMENT_SERVICE_URL is not set",
        "FRAME_BYTES_MAX (7000000) and EVENT_BYTES_MAX (1000000)",
        "INTAKE_TOKEN: its value",
    ] {
        assert!(ended.output.contains(said), "{said}: {}", ended.output);
    }
    assert!(!ended.output.contains("with a space"), "{}", ended.output);
}

/// Events and batches that an intake was given which answers each batch so late.
async fn late_intake(answers_after: Duration) -> (String, Arc<[AtomicUsize; 2]>) {
    let given: Arc<[AtomicUsize; 2]> = Arc::default();
    let counts = Arc::clone(&given);
    let take = move |body: Bytes| {
        let decompressed = ha_batch::decompress(&body);
        let body = decompressed.as_deref().unwrap_or(&body);
        // A probe is no batch.
        let batch = ha_batch::decode(body);
        let events = batch.map_or(0, |batch| batch.envelopes.len());
        counts[0].fetch_add(events, Ordering::SeqCst);
        counts[1].fetch_add(usize::from(events > 0), Ordering::SeqCst);
        async move {
            tokio::time::sleep(answers_after).await;
            "{}"
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route(ha_http::PATH, post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, given)
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_grow_while_those_before_them_are_not_confirmed() {
    let (home, files) = (home().await, Files::new());
    let (url, given) = late_intake(Duration::from_millis(150)).await;
    let process = producer(&service(&files, &home, &url));
    process.wait_until_ready().await;
    let firing = home.run_rate(100.0, Some(Duration::from_secs(3)));
    let fired = firing.await.unwrap() as usize;
    wait_until_settled(&process, &home).await;
    process.stop().await;
    let [events, batches] = [0, 1].map(|at| given[at].load(Ordering::SeqCst));
    assert!(events >= fired, "{events} of {fired}");
    // Each 16 ms there would be one of two events.
    assert!(
        batches * 5 <= events,
        "{events} events in {batches} batches"
    );
}
