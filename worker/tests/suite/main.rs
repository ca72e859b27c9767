//! The worker's binary between a real RabbitMQ and a real InfluxDB. The services must be installed:
//! `make services-install`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, and so do their helpers"
)]

use ha_kit::{Place, Process};
use std::path::Path;

mod batches;
mod enrichment;
mod explain;
mod flow;
mod health;
mod intake;
mod last_acknowledgements;
mod logs;
mod long_outage;
mod poison;
mod refusals;
mod slow_database;
mod suspects;
mod workbench;

fn worker(variables: &[(&str, String)]) -> Process {
    Process::start(Path::new(env!("CARGO_BIN_EXE_worker")), &["run"], variables)
}

/// The settings of a worker with everything right.
fn variables(place: &Place) -> Vec<(&'static str, String)> {
    let mut variables = place.influxdb();
    variables.push(("AMQP_URL", place.amqp_url()));
    variables
}
