//! The broker crate against a real RabbitMQ. The services must be installed: `make services-install`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, and so do their helpers"
)]

mod access;
mod claim;
mod outages;
mod publishing;
mod subscribing;
mod support;
mod tls;
mod topology;
