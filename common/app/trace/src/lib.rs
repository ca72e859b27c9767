//! Traces: where one batch spent its time, from the socket to the database, over OTLP
//! (<https://opentelemetry.io/docs/specs/otlp/>, http/protobuf).
//!
//! Spans are per batch and per batch, never per event. Where traces are off, which is the default,
//! each function here is one look at an atomic. The parts of a trace, with what begins them:
//!
//! ```text
//! producer   receive (its oldest event left the socket) ─► send ha.events, or POST /v1/events
//! worker       └─ process ha.events, or POST /v1/events (parent: the header `traceparent`) ─► write
//! ```
//!
//! A write takes many batches: it is in the trace of the first that is sampled, and linked to all
//! that are. A batch that comes out of the spool begins a new trace: the spool keeps batches only.

mod context;
mod install;
mod span;

pub use context::{Context, current, within};
pub use install::{Sampling, TraceError, TraceOptions, Traces, install, is_on};
pub use span::{Span, batch, post, process, send, serve, write};

/// The header that carries a trace from one process to the next (W3C Trace Context).
pub const HEADER: &str = "traceparent";
