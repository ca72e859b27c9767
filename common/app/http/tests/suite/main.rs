//! The intake and its client, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod accepted;
mod refused;
mod spread;
mod support;
