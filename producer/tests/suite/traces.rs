//! Traces, as a collector gets them: it decodes the real protobuf.

use crate::suite::process::{free_port, wait_for};
use crate::suite::stored::Place;
use crate::suite::support::{
    Files, home, producer, service_worker_with, wait_until_settled, with, worker_with,
};
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::sync::{Arc, Mutex};

/// Spans that arrived, by the service that sent them.
#[derive(Clone, Default)]
struct Arrived(Arc<Mutex<Vec<(String, Span)>>>);

impl Arrived {
    fn all(&self) -> Vec<(String, Span)> {
        self.0.lock().unwrap().clone()
    }
}

/// A collector's base URL, and what it gets.
async fn collector() -> (String, Arrived) {
    let arrived = Arrived::default();
    let router = axum::Router::new()
        .route("/v1/traces", post(take))
        .with_state(arrived.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), arrived)
}

async fn take(State(arrived): State<Arrived>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP's protobuf");
    for of_resource in request.resource_spans {
        let attributes = of_resource.resource.unwrap().attributes;
        let name = attributes.into_iter().find(|a| a.key == "service.name");
        let name = name.and_then(|name| name.value?.value);
        let Some(Value::StringValue(service)) = name else {
            panic!("a resource without a name");
        };
        let spans = of_resource.scope_spans.into_iter().flat_map(|s| s.spans);
        let mut all = arrived.0.lock().unwrap();
        all.extend(spans.map(|span| (service.clone(), span)));
    }
}

/// Spans are sent when the process ends and not before: there are too few for a full batch.
fn traced(endpoint: String) -> [(&'static str, String); 3] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000".into()),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2048".into()),
    ]
}

fn number(span: &Span, key: &str) -> i64 {
    let found = span.attributes.iter().find(|a| a.key == key);
    match found.and_then(|a| a.value.as_ref()?.value.as_ref()) {
        Some(Value::IntValue(number)) => *number,
        other => panic!("{key} is {other:?}"),
    }
}

fn of<'a>(all: &'a [(String, Span)], service: &str, name: &str) -> Vec<&'a Span> {
    let fitting = all
        .iter()
        .filter(|(of, span)| of == service && span.name == name);
    fitting.map(|(_, span)| span).collect()
}

fn is_below(span: &Span, above: &Span) -> bool {
    span.trace_id == above.trace_id && span.parent_span_id == above.span_id
}

#[tokio::test]
async fn one_trace_goes_from_the_socket_through_the_broker_to_the_write() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let (endpoint, arrived) = collector().await;
    let traced = traced(endpoint);
    let worker = worker_with(&place, &traced);
    worker.wait_until_ready().await;
    let queue = with(
        files.variables(&home, "queue"),
        &[("AMQP_URL", place.amqp_url())],
    );
    let process = producer(&with(queue, &traced));
    process.wait_until_ready().await;
    home.fire(200);
    home.fire(1);
    wait_until_settled(&process, &home).await;
    let fired = home.ledger().fired();
    wait_for("all points", async || {
        (place.points().await.len() as u64 >= fired).then_some(())
    })
    .await;
    assert_eq!(arrived.all(), [], "nothing is sent before its time");
    process.stop().await;
    worker.stop().await;

    // So all of these left with the process.
    let all = arrived.all();
    let received = of(&all, "ha-ingestor-producer", "receive");
    let sent = of(&all, "ha-ingestor-producer", "send ha.events");
    let processed = of(&all, "ha-ingestor-worker", "process ha.events");
    let written = of(&all, "ha-ingestor-worker", "write");
    let events: i64 = received
        .iter()
        .map(|span| number(span, "messaging.batch.message_count"))
        .sum();
    assert!(
        events >= fired as i64,
        "{events} events in spans, {fired} fired"
    );
    let mut frames = 0;
    for span in &processed {
        let send = sent.iter().find(|send| is_below(span, send));
        let send = send.expect("the publish of what is processed");
        let write = written.iter().find(|write| {
            let mut links = write.links.iter();
            links.any(|link| link.span_id == span.span_id && link.trace_id == span.trace_id)
        });
        let write = write.expect("a write that is linked to the frame");
        assert!(write.end_time_unix_nano >= span.start_time_unix_nano);
        assert_eq!(write.trace_id, write.links[0].trace_id);
        assert_eq!(write.parent_span_id, write.links[0].span_id);
        // What the spool had in between has no beginning at the socket.
        let Some(receive) = received.iter().find(|receive| is_below(send, receive)) else {
            assert!(send.parent_span_id.is_empty());
            continue;
        };
        frames += 1;
        assert!(receive.parent_span_id.is_empty(), "a trace begins here");
        assert!(receive.start_time_unix_nano <= send.start_time_unix_nano);
        assert!(send.start_time_unix_nano <= span.end_time_unix_nano);
    }
    assert!(frames > 0, "no trace goes from the socket to the write");
    let points: i64 = written
        .iter()
        .map(|span| number(span, "db.operation.batch.size"))
        .sum();
    assert!(points >= fired as i64, "{points} points in spans of writes");
}

#[tokio::test]
async fn over_http_it_is_one_trace_too() {
    const TOKEN: &str = "the-token-of-this-test";
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let (endpoint, arrived) = collector().await;
    let (traced, port) = (traced(endpoint), free_port());
    let worker = service_worker_with(&place, &files, port, TOKEN, &traced);
    worker.wait_until_ready().await;
    let service = [
        ("ENRICHMENT_SERVICE_URL", format!("http://127.0.0.1:{port}")),
        ("INTAKE_TOKEN", TOKEN.to_owned()),
    ];
    let service = with(files.variables(&home, "service"), &service);
    let process = producer(&with(service, &traced));
    process.wait_until_ready().await;
    home.fire(20);
    wait_until_settled(&process, &home).await;
    process.stop().await;
    worker.stop().await;

    let all = arrived.all();
    let sent = of(&all, "ha-ingestor-producer", "POST /v1/events");
    let taken = of(&all, "ha-ingestor-worker", "POST /v1/events");
    let written = of(&all, "ha-ingestor-worker", "write");
    let received = of(&all, "ha-ingestor-producer", "receive");
    let reaches_a_write = |receive: &&&Span| {
        let below = sent.iter().filter(|sent| is_below(sent, receive));
        let mut taken = below.flat_map(|sent| taken.iter().filter(|taken| is_below(taken, sent)));
        taken.any(|taken| {
            let mut links = written.iter().flat_map(|write| &write.links);
            links.any(|link| link.span_id == taken.span_id && link.trace_id == receive.trace_id)
        })
    };
    // Of a frame that went into the spool in between the trace ends there.
    assert!(
        received.iter().any(|receive| reaches_a_write(&receive)),
        "{all:?}"
    );
}

#[tokio::test]
async fn what_the_producer_does_not_sample_the_worker_does_not_record() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let (endpoint, arrived) = collector().await;
    let traced = traced(endpoint);
    let worker = worker_with(&place, &traced);
    worker.wait_until_ready().await;
    let queue = with(
        files.variables(&home, "queue"),
        &[
            ("AMQP_URL", place.amqp_url()),
            ("OTEL_TRACES_SAMPLER", "traceidratio".into()),
            ("OTEL_TRACES_SAMPLER_ARG", "0".into()),
        ],
    );
    let process = producer(&with(queue, &traced));
    process.wait_until_ready().await;
    home.fire(50);
    wait_until_settled(&process, &home).await;
    wait_for("all points", async || {
        (place.points().await.len() as u64 >= home.ledger().fired()).then_some(())
    })
    .await;
    process.stop().await;
    worker.stop().await;
    let names: Vec<_> = arrived
        .all()
        .into_iter()
        .map(|(_, span)| span.name)
        .collect();
    assert_eq!(names, [""; 0]);
}

#[tokio::test]
async fn a_line_about_a_frame_carries_the_trace_that_the_collector_gets() {
    let (home, files) = (home().await, Files::new());
    let (endpoint, arrived) = collector().await;
    let nowhere = format!("amqp://guest:guest@127.0.0.1:{}/%2f", free_port());
    let queue = with(files.variables(&home, "queue"), &[("AMQP_URL", nowhere)]);
    let process = producer(&with(queue, &traced(endpoint)));
    wait_for("the subscription", async || {
        (!home.stats().subscriptions.is_empty()).then_some(())
    })
    .await;
    home.fire(1);
    let line = wait_for("a line about the frame", async || {
        let about = "the route is away; events go to the spool";
        let output = process.output();
        let line = output.lines().find(|line| line.contains(about));
        line.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
    })
    .await;
    process.stop().await;
    let hex = |id: &[u8]| -> String { id.iter().map(|byte| format!("{byte:02x}")).collect() };
    let spans = arrived.all();
    let ids = |(_, span): &(String, Span)| (hex(&span.trace_id), hex(&span.span_id));
    let ids: Vec<_> = spans.iter().map(ids).collect();
    let said = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    assert!(
        ids.contains(&(said("trace_id"), said("span_id"))),
        "{line}: {ids:?}"
    );
}
