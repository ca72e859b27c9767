//! The faults, one after the other on the same system, and the alerts that each must bring.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ha_broker::topology;
use ha_services::Service;
use loadtest_engine::harness::Harness;
use loadtest_engine::http_front::Answer;
use loadtest_engine::proxy::Network;
use loadtest_engine::topology::Link;
use loadtest_report::Role;
use reqwest::Method;
use serde_json::json;

use super::plan::RATE;
use super::proofs::{Made, Name, Proofs};
use super::render;

const PRODUCER: &str = "producer";
const POLICY: &str = "alerts-limit";
/// Events a second that slow workers fall behind with, and that fill limits.
const BUSY: f64 = 400.0;
const FILLING: f64 = 1_500.0;
/// What a slow database takes for a write; a worker writes 100 points at most, one write at a time.
const SLOW_WRITE: Duration = Duration::from_millis(1_500);
/// Longer than three of the fifteen seconds that the rule wants to see.
const HOME_AWAY: Duration = Duration::from_secs(45);
const BROKEN_EVENTS_PAUSE: Duration = Duration::from_millis(20);

const QUEUE_DEEP: Name = ("HaIngestorQueueDepthHigh", "warning");
const QUEUE_FULL: Name = ("HaIngestorQueueDepthHigh", "critical");
const OLD: Name = ("HaIngestorOldestUnwrittenEvent", "warning");
const VERY_OLD: Name = ("HaIngestorOldestUnwrittenEvent", "critical");
const GROWING: Name = ("HaIngestorBacklogGrowing", "warning");
const DEAD_LETTERS: Name = ("HaIngestorDeadLetters", "warning");
const NO_CONSUMERS: Name = ("HaIngestorNoConsumers", "critical");
const SPOOL: Name = ("HaIngestorSpoolInUse", "warning");
const SPOOL_FULL: Name = ("HaIngestorSpoolInUse", "critical");
const LOST: Name = ("HaIngestorEventsLost", "critical");
const SINK: Name = ("HaIngestorSinkFailing", "critical");
const SINK_OF_ONE: Name = ("HaIngestorSinkFailing", "warning");
const DISCONNECTED: Name = ("HaIngestorProducerDisconnected", "critical");
const QUALITY: Name = ("HaIngestorQualityScoreLow", "warning");
const TARGET: Name = ("HaIngestorTargetDown", "warning");

/// The queue of batches gets a limit that a run of minutes can reach.
pub(super) async fn limit_queue(harness: &Harness) -> anyhow::Result<()> {
    let limit = json!({"max-length-bytes": render::QUEUE_BYTES_MAX});
    harness.limit_events_queue(POLICY, &limit).await?;
    Ok(())
}

/// Makes them all. An alert that does not come is noted, and the next fault is made; an error is
/// what could not be done.
pub(super) async fn make_all(harness: &mut Harness, proofs: &mut Proofs<'_>) -> anyhow::Result<()> {
    // Its window is the longest, so its end is waited for last.
    let (dead_letters, undone) = dead_letters(harness, proofs).await?;
    broken_events(harness, proofs).await?;
    broker_out_of_reach(harness, proofs).await?;
    slow_database(harness, proofs).await?;
    no_workers(harness, proofs).await?;
    no_database(harness, proofs).await?;
    refused_worker(harness, proofs).await?;
    no_producer(harness, proofs).await?;
    no_home(harness, proofs).await?;
    no_broker(harness, proofs).await?;
    proofs.resolved(&dead_letters, undone).await;
    Ok(())
}

async fn dead_letters(
    harness: &Harness,
    proofs: &mut Proofs<'_>,
) -> anyhow::Result<(Made, Instant)> {
    let fault = "a message that is no batch is published to ha.events; `worker dlq discard` takes the dead letter";
    let mut made = proofs.begin(fault, &[DEAD_LETTERS]).await;
    let vhost = harness.own_vhost()?;
    let path = format!("exchanges/{vhost}/{}/publish", topology::EVENTS_EXCHANGE);
    let message = json!({
        "properties": {}, "routing_key": "nobody", "payload": "rubbish", "payload_encoding": "string",
    });
    let services = harness.own_services()?;
    services
        .management(Method::POST, &path, Some(message))
        .await?;
    proofs.firing(&mut made, &[DEAD_LETTERS]).await;
    discard_dead_letters(harness).await?;
    Ok((made, Instant::now()))
}

/// By the product's own command.
async fn discard_dead_letters(harness: &Harness) -> anyhow::Result<()> {
    let names = harness.names(Role::Worker);
    let worker = names.first().and_then(|name| harness.process(name));
    let worker = worker.context("no worker runs")?;
    let output = tokio::process::Command::new(&worker.launch().binary)
        .args(["dlq", "discard", "--yes", "--export"])
        .arg(harness.folder().join("letters.jsonl"))
        .env("AMQP_URL", harness.amqp_url()?.as_str())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("worker dlq discard: {}", words.trim());
    }
    Ok(())
}

async fn broken_events(harness: &Harness, proofs: &mut Proofs<'_>) -> anyhow::Result<()> {
    let fault = "a thermometer sends text in the place of numbers, fifty times a second";
    let mut made = proofs.begin(fault, &[QUALITY]).await;
    let simulator = harness.home().simulator().clone();
    simulator.set_rate(1.0);
    let sending = async {
        loop {
            let sent = simulator.inject_event(&broken_event(), true);
            if let Err(error) = sent {
                break error;
            }
            tokio::time::sleep(BROKEN_EVENTS_PAUSE).await;
        }
    };
    tokio::select! {
        error = sending => return Err(error.into()),
        () = proofs.firing(&mut made, &[QUALITY]) => {}
    }
    simulator.set_rate(RATE);
    proofs.resolved(&made, Instant::now()).await;
    Ok(())
}

/// A state that is no number, of a class that is numbers.
fn broken_event() -> String {
    let now = jiff::Timestamp::now();
    format!(
        r#"{{"event_type":"state_changed","data":{{"entity_id":"sensor.broken","old_state":null,
        "new_state":{{"entity_id":"sensor.broken","state":"warm",
        "attributes":{{"device_class":"temperature"}},
        "last_changed":"{now:.6}","last_updated":"{now:.6}",
        "context":{{"id":"broken","parent_id":null,"user_id":null}}}}}},
        "origin":"LOCAL","time_fired":"{now:.6}",
        "context":{{"id":"broken","parent_id":null,"user_id":null}}}}"#
    )
}

async fn broker_out_of_reach(harness: &Harness, proofs: &mut Proofs<'_>) -> anyhow::Result<()> {
    let fault = "the network between producer and broker is cut, until the spool overflows";
    let all = [SPOOL, OLD, VERY_OLD, SPOOL_FULL, LOST];
    let mut made = proofs.begin(fault, &all).await;
    let simulator = harness.home().simulator().clone();
    let link = [Link::ProducerBroker];
    harness.links().set_network(&link, Network::Cut);
    proofs.firing(&mut made, &[OLD, SPOOL, VERY_OLD]).await;
    simulator.set_rate(FILLING);
    proofs.firing(&mut made, &[SPOOL_FULL, LOST]).await;
    simulator.set_rate(RATE);
    harness.links().set_network(&link, Network::Open);
    proofs.resolved(&made, Instant::now()).await;
    Ok(())
}

async fn slow_database(harness: &Harness, proofs: &mut Proofs<'_>) -> anyhow::Result<()> {
    let fault = "every write to the database takes 1.5 s longer, until the queue is nearly full";
    let all = [OLD, VERY_OLD, QUEUE_DEEP, GROWING, QUEUE_FULL];
    let mut made = proofs.begin(fault, &all).await;
    let simulator = harness.home().simulator().clone();
    simulator.set_rate(BUSY);
    harness.links().set_answer(Answer::Late(SLOW_WRITE));
    proofs
        .firing(&mut made, &[QUEUE_DEEP, GROWING, VERY_OLD])
        .await;
    simulator.set_rate(FILLING);
    proofs.firing(&mut made, &[QUEUE_FULL]).await;
    simulator.set_rate(RATE);
    harness.links().set_answer(Answer::Pass);
    proofs.resolved(&made, Instant::now()).await;
    Ok(())
}

async fn no_workers(harness: &mut Harness, proofs: &mut Proofs<'_>) -> anyhow::Result<()> {
    let alerts = [NO_CONSUMERS, TARGET];
    let mut made = proofs.begin("all workers are killed", &alerts).await;
    let mut launches = Vec::new();
    for name in harness.names(Role::Worker) {
        launches.push(harness.kill_process(&name).await?);
    }
    proofs.firing(&mut made, &alerts).await;
    for launch in &launches {
        harness.start_process(launch)?;
        harness.await_ready(&launch.name).await?;
    }
    proofs.resolved(&made, Instant::now()).await;
    Ok(())
}

async fn no_database(harness: &Harness, proofs: &mut Proofs<'_>) -> anyhow::Result<()> {
    let mut made = proofs.begin("InfluxDB is killed", &[SINK]).await;
    let services = harness.own_services()?;
    services.kill9(Service::InfluxDb).await?;
    proofs.firing(&mut made, &[SINK]).await;
    services.start_again(Service::InfluxDb).await?;
    harness.watch_service(Service::InfluxDb);
    proofs.resolved(&made, Instant::now()).await;
    Ok(())
}

async fn refused_worker(harness: &mut Harness, proofs: &mut Proofs<'_>) -> anyhow::Result<()> {
    let fault = "one of two workers is started with a token that the database refuses";
    let mut made = proofs.begin(fault, &[SINK_OF_ONE]).await;
    let name = harness
        .names(Role::Worker)
        .pop()
        .context("no worker runs")?;
    let (good, _) = harness.terminate_process(&name).await?;
    let mut bad = good.clone();
    // The last of two of the same name counts.
    bad.environment
        .push(("INFLUXDB_TOKEN", "another".to_owned()));
    harness.start_process(&bad)?;
    proofs.firing(&mut made, &[SINK_OF_ONE]).await;
    harness.terminate_process(&name).await?;
    harness.start_process(&good)?;
    harness.await_ready(&name).await?;
    proofs.resolved(&made, Instant::now()).await;
    Ok(())
}

async fn no_producer(harness: &mut Harness, proofs: &mut Proofs<'_>) -> anyhow::Result<()> {
    let mut made = proofs
        .begin("the producer is killed", &[DISCONNECTED])
        .await;
    let launch = harness.kill_process(PRODUCER).await?;
    proofs.firing(&mut made, &[DISCONNECTED]).await;
    harness.start_process(&launch)?;
    harness.await_ready(PRODUCER).await?;
    proofs.resolved(&made, Instant::now()).await;
    Ok(())
}

async fn no_home(harness: &Harness, proofs: &mut Proofs<'_>) -> anyhow::Result<()> {
    let mut made = proofs
        .begin("Home Assistant is away for 45 s", &[DISCONNECTED])
        .await;
    let away = async {
        harness.interrupt_home(false, HOME_AWAY).await?;
        anyhow::Ok(Instant::now())
    };
    let (undone, ()) = tokio::join!(away, proofs.firing(&mut made, &[DISCONNECTED]));
    proofs.resolved(&made, undone?).await;
    Ok(())
}

async fn no_broker(harness: &Harness, proofs: &mut Proofs<'_>) -> anyhow::Result<()> {
    let alerts = [TARGET, SPOOL];
    let mut made = proofs.begin("RabbitMQ is killed", &alerts).await;
    let services = harness.own_services()?;
    services.kill9(Service::RabbitMq).await?;
    proofs.firing(&mut made, &alerts).await;
    services.start_again(Service::RabbitMq).await?;
    harness.watch_service(Service::RabbitMq);
    proofs.resolved(&made, Instant::now()).await;
    Ok(())
}
