//! The spans that there are, named and described by OpenTelemetry's conventions for messaging and
//! databases (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>).

use crate::Context;
use crate::install::{LINKS_MAX, tracer};
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context as Parent, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use std::time::{Duration, UNIX_EPOCH};

/// A span under way; it ends when this is dropped. Nothing where traces are off.
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

impl Span {
    /// What belongs below it says so by this.
    #[must_use]
    pub fn context(&self) -> Context {
        Context(self.0.as_ref().map(|span| span.span_context().clone()))
    }

    /// The header for the message that it is about.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        self.0.as_ref()?;
        self.context().traceparent()
    }

    /// It did not succeed.
    pub fn fail(&mut self, reason: impl ToString) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(reason.to_string()));
        }
    }

    /// It failed, and is tried again.
    pub fn retry(&mut self, reason: &str) {
        if let Some(span) = &mut self.0 {
            span.add_event("retry", vec![KeyValue::new("reason", reason.to_owned())]);
        }
    }
}

/// A batch in the producer, from when its oldest event was read from the socket to when it is
/// safe: the beginning of a trace.
#[must_use]
pub fn batch(received_at_ns: i64, events: u32) -> Span {
    start(&Context::default(), || {
        let received = Duration::from_nanos(u64::try_from(received_at_ns).unwrap_or_default());
        SpanBuilder::from_name("receive")
            .with_kind(SpanKind::Internal)
            .with_start_time(UNIX_EPOCH + received)
            .with_attributes([count(events)])
    })
}

/// One attempt to publish a batch.
#[must_use]
pub fn send(batch: &Context, exchange: &'static str, events: u32) -> Span {
    start(batch, || {
        messaging("send", SpanKind::Producer, exchange).with_attributes([
            KeyValue::new("messaging.system", "rabbitmq"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", exchange),
            count(events),
        ])
    })
}

/// A delivery in the worker, from its arrival to when its events are settled.
#[must_use]
pub fn process(traceparent: Option<&str>, queue: &'static str) -> Span {
    if tracer().is_none() {
        return Span::default();
    }
    let sent = traceparent.map(Context::read).unwrap_or_default();
    start(&sent, || {
        messaging("process", SpanKind::Consumer, queue).with_attributes([
            KeyValue::new("messaging.system", "rabbitmq"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", queue),
        ])
    })
}

/// One attempt to hand a batch to a worker over HTTP.
#[must_use]
pub fn post(batch: &Context, path: &'static str, events: u32) -> Span {
    start(batch, || {
        http(path, SpanKind::Client).with_attributes(request(path, [count(events)]))
    })
}

/// A request in the worker, from its headers to its answer.
#[must_use]
pub fn serve(traceparent: Option<&str>, path: &'static str) -> Span {
    let sent = match tracer() {
        Some(_) => traceparent.map(Context::read).unwrap_or_default(),
        None => return Span::default(),
    };
    start(&sent, || {
        http(path, SpanKind::Server).with_attributes(request(path, []))
    })
}

/// One batch, from its first attempt at the database to the last answer: below the first of its
/// batches that is sampled, linked to all that are.
#[must_use]
pub fn write<'a>(batches: impl Iterator<Item = &'a Context>, points: usize) -> Span {
    match tracer() {
        Some(tracer) => write_by(tracer, batches, points),
        None => Span::default(),
    }
}

fn write_by<'a>(
    tracer: &SdkTracer,
    batches: impl Iterator<Item = &'a Context>,
    points: usize,
) -> Span {
    let mut batches = batches.filter(|batch| batch.0.is_some()).peekable();
    let unsampled = batches.peek().copied();
    let links: Vec<_> = batches
        .filter_map(Context::sampled)
        .take(LINKS_MAX as usize)
        .cloned()
        .map(Link::with_context)
        .collect();
    let parent = match links.first() {
        Some(first) => Context(Some(first.span_context.clone())),
        None => unsampled.cloned().unwrap_or_default(),
    };
    let builder = SpanBuilder::from_name("write")
        .with_kind(SpanKind::Client)
        .with_links(links)
        .with_attributes([KeyValue::new("db.operation.batch.size", points as i64)]);
    start_by(tracer, &parent, builder)
}

/// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>
fn http(path: &str, kind: SpanKind) -> SpanBuilder {
    SpanBuilder::from_name(format!("POST {path}")).with_kind(kind)
}

fn request<const MORE: usize>(
    path: &'static str,
    more: [KeyValue; MORE],
) -> impl Iterator<Item = KeyValue> {
    let method = KeyValue::new("http.request.method", "POST");
    [method, KeyValue::new("url.path", path)]
        .into_iter()
        .chain(more)
}

fn messaging(operation: &str, kind: SpanKind, place: &str) -> SpanBuilder {
    SpanBuilder::from_name(format!("{operation} {place}")).with_kind(kind)
}

fn count(events: u32) -> KeyValue {
    KeyValue::new("messaging.batch.message_count", i64::from(events))
}

/// The builder is called only where traces are on.
fn start(parent: &Context, builder: impl FnOnce() -> SpanBuilder) -> Span {
    match tracer() {
        Some(tracer) => start_by(tracer, parent, builder()),
        None => Span::default(),
    }
}

fn start_by(tracer: &SdkTracer, parent: &Context, builder: SpanBuilder) -> Span {
    let parent = match &parent.0 {
        Some(context) => Parent::new().with_remote_span_context(context.clone()),
        None => Parent::new(),
    };
    Span(Some(Box::new(tracer.build_with_context(builder, &parent))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::{Sampling, sampler};
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

    #[test]
    fn a_write_is_in_the_trace_of_its_first_sampled_batch_and_linked_to_all_that_are() {
        let written = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(written.clone())
            .with_sampler(sampler(Sampling::ParentBasedRatio(1.0)))
            .build();
        let tracer = provider.tracer("test");
        let batch = |trace: u8, sampled: u8| {
            Context::read(&format!("00-{trace:032x}-{trace:016x}-{sampled:02x}"))
        };
        let untraced = Context::default();
        let batches = [untraced, batch(1, 0), batch(2, 1), batch(3, 0), batch(4, 1)];
        drop(write_by(&tracer, batches.iter(), 400));
        drop(write_by(&tracer, batches[..2].iter(), 1));

        let spans = written.get_finished_spans().unwrap();
        assert_eq!(spans.len(), 1, "a batch without a sampled batch is none");
        let links = spans[0].links.iter();
        let links: Vec<_> = links.map(|link| link.span_context.trace_id()).collect();
        let sampled = [2_u128.into(), 4_u128.into()];
        assert_eq!(links, sampled);
        assert_eq!(spans[0].span_context.trace_id(), sampled[0]);
        assert_eq!(spans[0].parent_span_id, 2_u64.into());
    }
}
