//! The source against a scripted Home Assistant on a real loopback socket.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, and so do their helpers"
)]

mod home;
mod lifecycle;
mod pressure;
mod requests;
mod simulated;
mod stream;
mod tls;
