//! The worker: takes batches off the queue with backpressure, stores every event of them, and only
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
pub mod cli;
mod commands;
mod config;
mod run;

pub use app::App;
pub use config::{Config, WorkerArgs};
