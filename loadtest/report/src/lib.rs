//! What a run reports: the typed report, its JSON, its tables, and the pages made of it.

mod cases;
mod extra;
mod latency;
mod output;
pub mod page;
mod process;
mod report;
mod role;
mod rounded;
mod series;
mod table;
mod words;

pub use extra::{
    Backlog, Bare, BareParts, BesideBare, CpuPerMillion, Estimate, EstimateSample, Extra, Growth,
    ModeRow, Ramp, Step,
};
pub use latency::LatencyMs;
pub use output::Output;
pub use process::{Exit, Start};
pub use report::{
    ConnectionReport, DrillReport, Fault, ProcessUsage, Report, RoleFigures, Verdict,
};
pub use role::Role;
pub use rounded::rounded;
pub use series::{RoleSample, Sample};
