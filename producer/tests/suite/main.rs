//! The producer's binary between a simulated Home Assistant and real databases and brokers. The
//! services must be installed: `make services-install`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, and so do their helpers"
)]

mod alerts;
mod bad_input;
mod browser;
mod bus;
mod commands;
mod gaps;
mod health;
mod logs;
mod modes;
mod outages;
mod page;
mod quality;
mod refusals;
mod registry;
mod replay;
mod restart_artefacts;
mod restarts;
mod retention;
mod secrets;
mod service;
mod standby;
mod support;
mod traces;
mod versions;
mod weather;
