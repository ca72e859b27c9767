//! From Home Assistant: what is kept of the stream, its numbers, and what is fetched beside it.

pub mod backfill;
pub mod continuity;
pub mod filtering;
pub mod home;
pub mod inputs;
pub mod intake;
pub mod marks;
pub mod recent;
pub mod registry;
pub mod watermark;
