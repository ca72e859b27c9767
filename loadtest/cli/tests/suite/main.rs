//! The load tester against the real system: the producer's and the worker's binaries, RabbitMQ,
//! InfluxDB.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, their helper functions too"
)]

mod audits;
mod commands;
mod ends;
mod heavy;
mod steady;
mod support;
