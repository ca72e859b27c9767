//! The InfluxDB sink against a server that answers whatever it is told to, and against a real one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod attributes;
mod events;
mod fake;
mod real;
mod support;
mod tables;
