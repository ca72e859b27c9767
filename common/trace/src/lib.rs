//! Traces: where one frame spent its time, from the socket to the database, over OTLP
//! (<https://opentelemetry.io/docs/specs/otlp/>, http/protobuf).
//!
//! Spans are per frame and per batch, never per event. Where traces are off, which is the default,
//! each function here is one look at an atomic. The parts of a trace, with what begins them:
//!
//! ```text
//! producer   receive (its oldest event left the socket) ─► send ha.events
//! worker       └─ process ha.events (parent: the message's `traceparent`) ─► write
//! ```
//!
//! A write takes many frames: it is in the trace of its first frame, and linked to those of all.

mod context;
mod install;
mod span;

pub use context::Context;
pub use install::{Sampling, TraceError, TraceOptions, Traces, install, is_on};
pub use span::{Span, frame, process, send, write};

/// The header that carries a trace from one process to the next (W3C Trace Context).
pub const HEADER: &str = "traceparent";
