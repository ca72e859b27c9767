//! The producer: holds the WebSocket to Home Assistant, filters, numbers and frames the events,
//! and sees each frame to where it is safe.
//!
//! ```text
//! socket ─► intake (filter, number, envelope) ─► framer ─► router ─► broker, workers, or
//!                                                                         the pipeline
//! ```

mod alerts;
mod app;
mod backfill;
mod check;
pub mod cli;
mod config;
mod demo;
mod direct;
mod framer;
mod home;
mod import;
mod intake;
mod low_water;
mod metrics;
mod pace;
mod quality;
mod recent;
mod record;
mod registry;
mod route;
mod router;
mod standby;
mod status;
mod way_out;
mod workers;

pub use app::App;
pub use config::{Config, Destination, Mode, ProducerArgs};
