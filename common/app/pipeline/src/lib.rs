//! From frame to stored point: decode, enrich, batch, write, settle. The same in the worker, in
//! the producer that enriches inline, and for imports: frames go in with a ticket each, and a
//! ticket comes out when every event of its frame is stored or is a dead letter.

mod batch;
mod latency;
mod latest;
pub mod letter;
mod metrics;
#[cfg(debug_assertions)]
mod poison;
mod quality;
mod run;
mod weather;
mod work;
mod write;

pub use latency::LatencyRecorder;
pub use latest::{LatestEvent, LatestEvents};
pub use letter::{DeadLetters, Letter, Reason, now_ns};
pub use metrics::{Totals, describe};
pub use quality::{QualityRecorder, QualitySummary};
pub use run::{Pipeline, PipelineOptions};
pub use work::{Outcome, Ticket, Work};
pub use write::{SINK_PAUSE_MAX, SinkState};
