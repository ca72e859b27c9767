//! The simulator against a plain WebSocket client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod client;
mod faults;
mod firing;
mod history;
mod protocol;
mod replay;
