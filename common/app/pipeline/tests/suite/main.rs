//! Batches in, outcomes out: the pipeline between channels, an embedded database and a server that
//! answers whatever it is told to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, and so do their helpers"
)]

mod database;
mod embedded;
mod random;
mod support;
mod weather;
