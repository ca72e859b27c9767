//! The worker: takes frames off the queue with backpressure, stores every event of them, and only
//! then acknowledges.
//!
//! ```text
//! queue ─► subscription ─► pipeline (decode, enrich, batch, write) ─► database
//!              ▲                         │
//!              └── acknowledge ◄─ settle ┴─► dead letters
//! ```
//!
//! With `INTAKE_ADDR` events come over HTTP too, or only: the answer takes the acknowledgement's
//! place.

mod app;
mod audit;
mod backlog;
mod check;
pub mod cli;
mod config;
mod consume;
mod dlq;
mod explain;
mod held;
mod in_flight;
mod intake;
mod moment;
mod settle;
mod split;

pub use app::App;
pub use config::{Config, WorkerArgs};
