//! The spans that there are, named and described by OpenTelemetry's conventions for messaging and
//! databases (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>).

use crate::Context;
use crate::install::tracer;
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context as Parent, KeyValue};
use std::time::{Duration, UNIX_EPOCH};

/// A span keeps so many links; a write of more frames names the first of them.
const LINKS_MAX: usize = 128;

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

/// A frame in the producer, from when its oldest event was read from the socket to when it is
/// safe: the beginning of a trace.
#[must_use]
pub fn frame(received_at_ns: i64, events: u32) -> Span {
    start(&Context::default(), || {
        let received = Duration::from_nanos(u64::try_from(received_at_ns).unwrap_or_default());
        SpanBuilder::from_name("receive")
            .with_kind(SpanKind::Internal)
            .with_start_time(UNIX_EPOCH + received)
            .with_attributes([count(events)])
    })
}

/// One attempt to publish a frame.
#[must_use]
pub fn send(frame: &Context, exchange: &'static str, events: u32) -> Span {
    start(frame, || {
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

/// One batch, from its first attempt at the database to the last answer: below the first of its
/// frames, linked to all.
#[must_use]
pub fn write<'a>(frames: impl Iterator<Item = &'a Context>, points: usize) -> Span {
    if tracer().is_none() {
        return Span::default();
    }
    let links: Vec<_> = frames
        .filter_map(|frame| frame.0.clone())
        .take(LINKS_MAX)
        .map(Link::with_context)
        .collect();
    let first = Context(links.first().map(|link| link.span_context.clone()));
    start(&first, || {
        SpanBuilder::from_name("write")
            .with_kind(SpanKind::Client)
            .with_links(links)
            .with_attributes([KeyValue::new("db.operation.batch.size", points as i64)])
    })
}

fn messaging(operation: &str, kind: SpanKind, place: &str) -> SpanBuilder {
    SpanBuilder::from_name(format!("{operation} {place}")).with_kind(kind)
}

fn count(events: u32) -> KeyValue {
    KeyValue::new("messaging.batch.message_count", i64::from(events))
}

/// The builder is called only where traces are on.
fn start(parent: &Context, builder: impl FnOnce() -> SpanBuilder) -> Span {
    let Some(tracer) = tracer() else {
        return Span::default();
    };
    let parent = match &parent.0 {
        Some(context) => Parent::new().with_remote_span_context(context.clone()),
        None => Parent::new(),
    };
    Span(Some(Box::new(
        tracer.build_with_context(builder(), &parent),
    )))
}
