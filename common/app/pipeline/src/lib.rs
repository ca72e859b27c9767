//! From batch to stored point: decode, enrich, batch, write, settle. The same in the worker, in
//! the producer that enriches inline, and for imports: batches go in with a ack handle each, and a
//! ack handle comes out when every event of its batch is stored or is a dead letter.

pub mod dead_letter;
mod latency;
mod latest;
mod metrics;
#[cfg(debug_assertions)]
mod poison;
mod quality;
mod run;
mod weather;
mod work;
mod write;
mod write_batch;

pub use dead_letter::{DeadLetter, DeadLetterStore, Reason, now_ns};
pub use latency::LatencyRecorder;
pub use latest::{LatestEvent, LatestEvents};
pub use metrics::{Totals, describe};
pub use quality::{QualityRecorder, QualitySummary};
pub use run::{Pipeline, PipelineOptions};
pub use work::{AckHandle, Outcome, Work};
pub use write::{SINK_PAUSE_MAX, SinkState};
