//! The producer: holds the WebSocket to Home Assistant, filters, numbers and batches the events,
//! and sees each batch to where it is safe.
//!
//! ```text
//! socket ─► intake (filter, number, envelope) ─► batcher ─► router ─► broker, workers, or
//!                                                                         the pipeline
//! ```

mod app;
pub mod cli;
mod commands;
mod config;
mod deliver;
mod observe;
mod receive;

pub use app::App;
pub use config::{Config, Destination, Mode, ProducerArgs};
