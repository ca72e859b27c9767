//! From Home Assistant: what is kept of the stream, its numbers, and what is fetched beside it.

pub mod backfill;
pub mod filtering;
pub mod home;
pub mod intake;
pub mod recent;
pub mod registry;
pub mod watermark;
