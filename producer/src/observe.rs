//! What the producer says about itself and about its home.

pub mod alerts;
pub mod internal_event;
pub mod metrics;
pub mod quality;
pub mod status;
