//! Events over HTTP into a real worker process: strangers, a stop in the middle, dead letters.

use crate::batches::{batch, many, publish, state_changed};
use crate::{variables, worker};
use ha_kit::{Place, Process, eventually, free_port};
use reqwest::Client;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TOKEN: &str = "a-token-of-the-tests";

/// The worker may grow by at most this under 200 malformed requests: less than one body of 50 MB, and
/// less than the 28 of them together by far.
const GROWTH_KB_MAX: u64 = 24 * 1_024;

/// The settings of a worker that takes events over HTTP only.
fn over_http(place: &Place, folder: &TempDir) -> (SocketAddr, Vec<(&'static str, String)>) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut variables = place.influxdb();
    let dead_letters = folder.path().join("spool.db");
    variables.extend([
        ("INTAKE_ADDR", address.to_string()),
        ("INTAKE_TOKEN", TOKEN.to_owned()),
        ("INSTANCE_NAME", "cabin".to_owned()),
        ("SPOOL_PATH", dead_letters.display().to_string()),
    ]);
    (address, variables)
}

fn http() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

/// Posts JSON; `None` when there is no answer.
async fn post(http: &Client, address: SocketAddr, body: String) -> Option<(u16, Value)> {
    let request = http
        .post(format!("http://{address}/v1/events"))
        .bearer_auth(TOKEN)
        .header("content-type", "application/json");
    let response = request.body(body).send().await.ok()?;
    let status = response.status().as_u16();
    let answer = response.bytes().await.ok()?;
    Some((
        status,
        serde_json::from_slice(&answer).unwrap_or(Value::Null),
    ))
}

fn event(number: u64) -> String {
    state_changed("sensor.posted", &number.to_string(), number)
}

/// What a stranger sends, and what it must be answered with.
struct Kind {
    parts: Vec<Vec<u8>>,
    pause: Duration,
    status: u16,
}

fn head(length: usize) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

fn kinds() -> Vec<Kind> {
    let good = event(1).into_bytes();
    let whole = head(good.len());
    let kind = |status, head: String, body: &[u8]| Kind {
        parts: vec![head.into_bytes(), body.to_vec()],
        pause: Duration::ZERO,
        status,
    };
    let half = &good[..good.len() / 2];
    let cut = &batch(&[event(1)])[..60];
    let of_batches = head(cut.len()).replace("application/json", ha_batch::CONTENT_TYPE);
    let nobody = whole.replace(&format!("Authorization: Bearer {TOKEN}\r\n"), "");
    let slow = std::iter::once(head(1_000).into_bytes());
    vec![
        kind(401, nobody, &good),
        kind(401, whole.replace(TOKEN, "guessed"), &good),
        kind(413, head(50_000_000), &vec![b'['; 50_000_000]),
        kind(400, head(half.len()), half),
        kind(400, of_batches, cut),
        kind(415, whole.replace("application/json", "text/html"), &good),
        Kind {
            parts: slow.chain((0..40).map(|_| vec![b' '])).collect(),
            pause: Duration::from_millis(400),
            status: 408,
        },
    ]
}

/// Sends the parts as they are, and reads the answer to its end.
async fn attack(address: SocketAddr, kind: &Kind) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut answers, mut sending) = stream.into_split();
    let mut answer = Vec::new();
    let send = async {
        for part in &kind.parts {
            // A server that has refused may have closed already.
            if sending.write_all(part).await.is_err() {
                break;
            }
            tokio::time::sleep(kind.pause).await;
        }
        std::future::pending::<()>().await;
    };
    let read = tokio::time::timeout(Duration::from_secs(40), answers.read_to_end(&mut answer));
    tokio::select! {
        () = send => {}
        read = read => drop(read.expect("an answer in time")),
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    assert_eq!(status, Some(kind.status), "{answer}");
}

fn resident_kb(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// Posts three events a request without a pause, until it is told to stop; how many were stored by
/// the worker's word.
async fn honest_traffic(address: SocketAddr, stop: Arc<AtomicBool>, stored: Arc<AtomicU64>) {
    let http = http();
    let mut number = 10;
    while !stop.load(Ordering::SeqCst) {
        let array = format!(
            "[{},{},{}]",
            event(number),
            event(number + 1),
            event(number + 2)
        );
        let Some((status, answer)) = post(&http, address, array).await else {
            return;
        };
        assert_eq!(status, 200, "{answer}");
        stored.fetch_add(3, Ordering::SeqCst);
        number += 3;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_their_status_and_harm_nobody() {
    let (place, folder) = (Place::new().await, tempfile::tempdir().unwrap());
    let (address, variables) = over_http(&place, &folder);
    let process = worker(&variables);
    process.wait_until_ready().await;
    let kinds = Arc::new(kinds());
    let (stop, stored) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let traffic = tokio::spawn(honest_traffic(
        address,
        Arc::clone(&stop),
        Arc::clone(&stored),
    ));
    let spawn = |index: usize| {
        let kinds = Arc::clone(&kinds);
        tokio::spawn(async move { attack(address, &kinds[index % kinds.len()]).await })
    };
    // One of each that is quick first: what is measured is the growth by number.
    for index in 0..kinds.len() - 1 {
        spawn(index).await.unwrap();
    }
    let before_kb = resident_kb(&process);
    let mut peak_kb = before_kb;
    let is_slow = |index: &usize| kinds[index % kinds.len()].status == 408;
    let (slow, quick): (Vec<_>, Vec<_>) = (0..200).partition(is_slow);
    // All slow ones at once, and the others ten at a time in front of them.
    let slow: Vec<_> = slow.into_iter().map(&spawn).collect();
    for some in quick.chunks(10) {
        for attack in some.iter().map(|index| spawn(*index)).collect::<Vec<_>>() {
            attack.await.unwrap();
            peak_kb = peak_kb.max(resident_kb(&process));
        }
    }
    for attack in slow {
        attack.await.unwrap();
        peak_kb = peak_kb.max(resident_kb(&process));
    }
    stop.store(true, Ordering::SeqCst);
    traffic.await.unwrap();
    let stored = stored.load(Ordering::SeqCst);
    println!("honest events {stored}, resident before {before_kb} kB, peak {peak_kb} kB");
    assert!(stored > 100, "honest traffic went on: {stored}");
    assert_eq!(
        place.count().await as u64,
        stored,
        "and nothing else is stored"
    );
    assert!(
        peak_kb < before_kb + GROWTH_KB_MAX,
        "{before_kb} kB before, {peak_kb} kB at the peak"
    );
    let points = place.points().await;
    assert!(points.iter().all(|point| point.text("instance") == "cabin"));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_the_queue_a_term_in_the_middle_keeps_every_promise() {
    const BATCHES: u64 = 20;
    let place = Place::new().await;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut variables = variables(&place);
    variables.extend([
        ("INTAKE_ADDR", address.to_string()),
        ("INTAKE_TOKEN", TOKEN.to_owned()),
    ]);
    let process = worker(&variables);
    process.wait_until_ready().await;
    assert_eq!(process.status().await["intake"], address.to_string());
    let (stop, stored) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let traffic = tokio::spawn(honest_traffic(address, stop, Arc::clone(&stored)));
    let (_connection, channel) = place.channel().await;
    publish(&channel, &many(BATCHES)).await;
    eventually("events by both ways", async || {
        let by_http = stored.load(Ordering::SeqCst) > 50;
        (by_http && place.count().await as u64 >= BATCHES * 100).then_some(())
    })
    .await;
    process.stop().await;
    // Its connection is closed at the end of an answer; the next attempt finds nobody.
    traffic.await.unwrap();
    let posted = place.points().await;
    let posted = posted
        .iter()
        .filter(|point| point.text("entity_id") == "sensor.posted");
    assert!(
        posted.count() as u64 >= stored.load(Ordering::SeqCst),
        "an answer before the write"
    );
    assert_eq!(place.depth("ha.events").await, 0);
}

/// `worker dlq` on the dead letters' file.
async fn workbench(spool: &Path, arguments: &[&str]) -> String {
    let spool = spool.display().to_string();
    let arguments: Vec<_> = ["dlq"]
        .into_iter()
        .chain(arguments.iter().copied())
        .chain(["--spool-path", &spool])
        .collect();
    let binary = Path::new(env!("CARGO_BIN_EXE_worker"));
    let ended = Process::start(binary, &arguments, &[]).ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    ended.output
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_dead_letters_are_kept_in_a_file_and_sent_again_from_it() {
    let (place, folder) = (Place::new().await, tempfile::tempdir().unwrap());
    let (address, variables) = over_http(&place, &folder);
    let process = worker(&variables);
    process.wait_until_ready().await;
    let invalid = event(1).replace("sensor.posted", "no entity at all");
    let (status, answer) = post(&http(), address, format!("[{invalid},{}]", event(2)))
        .await
        .unwrap();
    assert_eq!(status, 207);
    assert_eq!(answer["results"][0]["status"], "dead_letter", "{answer}");
    assert_eq!(answer["results"][1]["status"], "stored", "{answer}");
    process.stop().await;

    let spool = folder.path().join("spool.db");
    let listed = workbench(&spool, &["list", "--json"]).await;
    assert!(listed.contains("invalid_event"), "{listed}");
    workbench(&spool, &["replay", "--yes"]).await;
    // It fails again, and its dead letter says that it was sent again.
    let process = worker(&variables);
    eventually("the dead letter's end", async || {
        process
            .output()
            .contains("replayed dead letters are settled")
            .then_some(())
    })
    .await;
    process.stop().await;
    let listed = workbench(&spool, &["list", "--json"]).await;
    let dead_letter: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(dead_letter["replays"], 1, "{listed}");
    assert_eq!(place.count().await, 1);
}

#[tokio::test]
async fn an_intake_that_everybody_could_use_is_refused() {
    let bad = [
        ("INTAKE_ADDR", "0.0.0.0:8300".to_owned()),
        ("EVENT_BYTES_MAX", "100000000".to_owned()),
        ("SINK", "null".to_owned()),
    ];
    let ended = worker(&bad).ended().await;
    assert_eq!(ended.status.code(), Some(2), "{}", ended.output);
    for said in ["INTAKE_TOKEN is not set", "EVENT_BYTES_MAX: \"100000000\""] {
        assert!(ended.output.contains(said), "{said}: {}", ended.output);
    }
    assert!(
        !ended.output.contains("AMQP_URL"),
        "none is needed: {}",
        ended.output
    );
}
