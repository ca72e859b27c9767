//! Which span something belongs to, as it travels.

use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

/// The place in a trace; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context(pub(crate) Option<SpanContext>);

impl Context {
    /// Of a `traceparent` header; empty for one that cannot be read: a trace is not worth a
    /// message.
    #[must_use]
    pub fn read(traceparent: &str) -> Self {
        Self(read(traceparent))
    }

    /// Where this task is at work ([`within`]); empty outside of traces.
    #[must_use]
    pub fn current() -> Self {
        let span =
            opentelemetry::Context::map_current(|context| context.span().span_context().clone());
        Self(Some(span).filter(SpanContext::is_valid))
    }

    /// The header.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let context = self.0.as_ref()?;
        Some(format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags() & TraceFlags::SAMPLED
        ))
    }

    pub(crate) fn sampled(&self) -> Option<&SpanContext> {
        self.0.as_ref().filter(|context| context.is_sampled())
    }
}

/// Does the work at this place of a trace: there, [`Context::current`] is this one, and lines that
/// are logged carry its ids ([`current`]).
pub async fn within<F: Future>(context: &Context, work: F) -> F::Output {
    match &context.0 {
        None => work.await,
        Some(span) => {
            let context = opentelemetry::Context::new().with_remote_span_context(span.clone());
            work.with_context(context).await
        }
    }
}

/// The ids of the trace and the span that this thread is at work in, if it is sampled.
#[must_use]
pub fn current() -> Option<(TraceId, SpanId)> {
    opentelemetry::Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        (span.is_valid() && span.is_sampled()).then(|| (span.trace_id(), span.span_id()))
    })
}

/// `version-trace-span-flags`; later versions may add parts
/// (<https://www.w3.org/TR/trace-context/#traceparent-header>).
fn read(header: &str) -> Option<SpanContext> {
    let mut parts = header.trim().split('-');
    let mut part = |digits: usize| {
        let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        parts
            .next()
            .filter(|part| part.len() == digits && part.bytes().all(is_lower_hex))
    };
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_a_broken_one_is_none() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(Context::read(header).traceparent().as_deref(), Some(header));
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let context = Context::read(unsampled);
        assert_eq!(context.traceparent().as_deref(), Some(unsampled));
        assert_eq!(context.sampled(), None);
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert!(Context::read(later).sampled().is_some());
        for broken in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-ä0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(Context::read(broken), Context::default(), "{broken}");
        }
    }
}
