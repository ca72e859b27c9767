//! The intake and its client, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "suite/accepted.rs"]
mod accepted;
#[path = "suite/refused.rs"]
mod refused;
#[path = "suite/spread.rs"]
mod spread;
#[path = "suite/support.rs"]
mod support;
