//! Traces, as a collector gets them: it decodes the real protobuf.

use crate::support::{
    Files, Variables, home, producer, service_worker_with, wait_until_settled, with, worker_with,
};
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::serve::Listener;
use ha_kit::{Place, Process, eventually, free_port};
use ha_simulator::Simulator;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Spans that arrived, by the service that sent them.
#[derive(Clone, Default)]
struct Arrived(Arc<Mutex<Vec<(String, Span)>>>);

impl Arrived {
    fn all(&self) -> Vec<(String, Span)> {
        self.0.lock().unwrap().clone()
    }

    /// What arrives at the listener from now on.
    fn at<L: Listener<Addr: std::fmt::Debug>>(listener: L) -> Self {
        let arrived = Self::default();
        let router = axum::Router::new().route("/v1/traces", post(take));
        let router = router.with_state(arrived.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        arrived
    }
}

/// A collector, by the settings of who sends to it.
struct Collector {
    settings: Variables,
    arrived: Arrived,
    /// Holds the file that the settings name.
    _authority: Option<tempfile::NamedTempFile>,
}

impl Collector {
    /// Gets spans when a process ends and not before: there are too few for a full batch.
    async fn plain() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        Self {
            settings: vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                ("OTEL_BSP_SCHEDULE_DELAY", "3600000".into()),
                ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2048".into()),
            ],
            arrived: Arrived::at(listener),
            _authority: None,
        }
    }

    /// Speaks https only, by a certificate of a private authority, and gets spans soon.
    async fn over_tls() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), authority.pem()).unwrap();
        let listener = TlsListener {
            tcp: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tls: TlsAcceptor::from(Arc::new(config)),
        };
        let port = listener.local_addr().unwrap().port();
        Self {
            settings: vec![
                (
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                    format!("https://localhost:{port}"),
                ),
                ("TLS_CA_FILE", file.path().display().to_string()),
                ("OTEL_BSP_SCHEDULE_DELAY", "100".into()),
            ],
            arrived: Arrived::at(listener),
            _authority: Some(file),
        }
    }
}

struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // Who does not trust the authority goes away here.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A home, a producer and a worker, both of which send their spans to one collector.
struct Traced {
    home: Simulator,
    place: Place,
    producer: Process,
    worker: Process,
    arrived: Arrived,
    _files: Files,
    _collector: Collector,
}

impl Traced {
    /// In mode `queue` or `service`; `more` are settings of the producer alone.
    async fn start(mode: &str, collector: Collector, more: &[(&'static str, String)]) -> Self {
        const TOKEN: &str = "the-token-of-this-test";
        let (home, files, place) = (home().await, Files::new(), Place::new().await);
        let settings = &collector.settings;
        let (worker, way) = match mode {
            "queue" => {
                let way = vec![("AMQP_URL", place.amqp_url())];
                (worker_with(&place, settings), way)
            }
            _ => {
                let port = free_port();
                let url = format!("http://127.0.0.1:{port}");
                let way = vec![
                    ("ENRICHMENT_SERVICE_URL", url),
                    ("INTAKE_TOKEN", TOKEN.to_owned()),
                ];
                let worker = service_worker_with(&place, &files, port, TOKEN, settings);
                (worker, way)
            }
        };
        worker.wait_until_ready().await;
        let variables = with(files.variables(&home, mode), &way);
        let variables = with(with(variables, settings), more);
        let producer = producer(&variables);
        producer.wait_until_ready().await;
        Self {
            arrived: collector.arrived.clone(),
            home,
            place,
            producer,
            worker,
            _files: files,
            _collector: collector,
        }
    }

    /// Until everything that was fired is in the database; how much that is.
    async fn stored(&self) -> u64 {
        wait_until_settled(&self.producer, &self.home).await;
        let fired = self.home.ledger().fired();
        eventually("all points", async || {
            (self.place.points().await.len() as u64 >= fired).then_some(())
        })
        .await;
        fired
    }

    /// Ends both: what they had to send has left with them.
    async fn end(self) -> Vec<(String, Span)> {
        self.producer.stop().await;
        self.worker.stop().await;
        self.arrived.all()
    }
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
    let traced = Traced::start("queue", Collector::plain().await, &[]).await;
    traced.home.fire(200);
    traced.home.fire(1);
    let fired = traced.stored().await;
    assert_eq!(traced.arrived.all(), [], "nothing is sent before its time");
    let all = traced.end().await;
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
    let mut batches = 0;
    for span in &processed {
        let send = sent.iter().find(|send| is_below(span, send));
        let send = send.expect("the publish of what is processed");
        let write = written.iter().find(|write| {
            let mut links = write.links.iter();
            links.any(|link| link.span_id == span.span_id && link.trace_id == span.trace_id)
        });
        let write = write.expect("a write that is linked to the batch");
        assert!(write.end_time_unix_nano >= span.start_time_unix_nano);
        assert_eq!(write.trace_id, write.links[0].trace_id);
        assert_eq!(write.parent_span_id, write.links[0].span_id);
        // What the spool had in between has no beginning at the socket.
        let Some(receive) = received.iter().find(|receive| is_below(send, receive)) else {
            assert!(send.parent_span_id.is_empty());
            continue;
        };
        batches += 1;
        assert!(receive.parent_span_id.is_empty(), "a trace begins here");
        assert!(receive.start_time_unix_nano <= send.start_time_unix_nano);
        assert!(send.start_time_unix_nano <= span.end_time_unix_nano);
    }
    assert!(batches > 0, "no trace goes from the socket to the write");
    let points: i64 = written
        .iter()
        .map(|span| number(span, "db.operation.batch.size"))
        .sum();
    assert!(points >= fired as i64, "{points} points in spans of writes");
}

#[tokio::test]
async fn over_http_it_is_one_trace_too() {
    let traced = Traced::start("service", Collector::plain().await, &[]).await;
    traced.home.fire(20);
    traced.stored().await;
    let all = traced.end().await;
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
    // Of a batch that went into the spool in between the trace ends there.
    assert!(
        received.iter().any(|receive| reaches_a_write(&receive)),
        "{all:?}"
    );
}

#[tokio::test]
async fn the_worker_records_what_the_producer_samples_for_a_collector_behind_tls() {
    // A batch an event, so that there are some hundred decisions.
    let half = [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".into()),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5".into()),
        ("FRAME_EVENTS_MAX", "1".into()),
    ];
    let traced = Traced::start("queue", Collector::over_tls().await, &half).await;
    traced.home.fire(300);
    let fired = traced.stored().await;
    let Traced {
        producer,
        worker,
        arrived,
        ..
    } = traced;
    // Its last batches go out while it ends, and the worker takes them after that.
    producer.stop().await;
    eventually("a span of the worker below every publish", async || {
        let all = arrived.all();
        let processed = of(&all, "ha-ingestor-worker", "process ha.events");
        let sent = of(&all, "ha-ingestor-producer", "send ha.events");
        let mut taken = sent.iter().filter(|send| !has_failed(send));
        let is_processed = |send: &&Span| processed.iter().any(|span| is_below(span, send));
        taken.all(is_processed).then_some(())
    })
    .await;
    worker.stop().await;

    let all = arrived.all();
    let sent = of(&all, "ha-ingestor-producer", "send ha.events");
    let share = 1..fired as usize;
    assert!(share.contains(&sent.len()), "{} of {fired}", sent.len());
    let processed = of(&all, "ha-ingestor-worker", "process ha.events");
    for span in &processed {
        assert!(sent.iter().any(|send| is_below(span, send)), "{span:?}");
    }
    let written = of(&all, "ha-ingestor-worker", "write");
    assert!(!written.is_empty());
    for link in written.iter().flat_map(|write| &write.links) {
        let is_linked =
            |span: &&Span| (&span.trace_id, &span.span_id) == (&link.trace_id, &link.span_id);
        assert!(
            processed.iter().copied().any(|span| is_linked(&span)),
            "{link:?}"
        );
    }
}

fn has_failed(span: &Span) -> bool {
    let status = span.status.as_ref();
    status.is_some_and(|status| status.code == StatusCode::Error as i32)
}

#[tokio::test]
async fn a_line_about_a_batch_carries_the_trace_that_the_collector_gets() {
    let (home, files) = (home().await, Files::new());
    let collector = Collector::plain().await;
    let nowhere = format!("amqp://guest:guest@127.0.0.1:{}/%2f", free_port());
    let queue = with(files.variables(&home, "queue"), &[("AMQP_URL", nowhere)]);
    let process = producer(&with(queue, &collector.settings));
    eventually("the subscription", async || {
        (!home.stats().subscriptions.is_empty()).then_some(())
    })
    .await;
    home.fire(1);
    let line = eventually("a line about the batch", async || {
        let about = "the route is away; events go to the spool";
        let output = process.output();
        let line = output.lines().find(|line| line.contains(about));
        line.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
    })
    .await;
    process.stop().await;
    let hex = |id: &[u8]| -> String { id.iter().map(|byte| format!("{byte:02x}")).collect() };
    let spans = collector.arrived.all();
    let ids = |(_, span): &(String, Span)| (hex(&span.trace_id), hex(&span.span_id));
    let ids: Vec<_> = spans.iter().map(ids).collect();
    let said = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    assert!(
        ids.contains(&(said("trace_id"), said("span_id"))),
        "{line}: {ids:?}"
    );
}
