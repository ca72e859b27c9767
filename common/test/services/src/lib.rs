//! Private copies of the real services (RabbitMQ, InfluxDB, …) for tests and the load tester.
//!
//! The work is done by `services.sh`, which lies beside this crate and is embedded in it, so that
//! an installed binary works without the repository. This crate picks a free port range, keeps the
//! set alive exactly as long as its owner, and offers what tests need next: vhosts, databases,
//! crashes.
//!
//! Nothing here outlives its owner: a guard process holds a pipe from the owner and stops the
//! services when it closes, which the kernel does for a killed process too.

mod client;
mod guard;
mod http;
mod ports;
mod script;
mod service;
mod set;

pub use service::Service;
pub use set::Services;

/// Organisation that the InfluxDB v2 front accepts.
pub const INFLUXDB_ORG: &str = "test";
/// Bucket (and InfluxDB 1.x database) that exists from the start.
pub const INFLUXDB_BUCKET: &str = "home_assistant";
/// Token that the InfluxDB v2 front accepts.
pub const INFLUXDB_TOKEN: &str = "test-token";
