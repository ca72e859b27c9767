//! What the producer says about itself and about its home.

pub mod alerts;
pub mod gauges;
pub mod internal_event;
pub mod metrics;
pub mod quality;
pub mod reporter;
pub mod status;
