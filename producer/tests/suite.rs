//! The producer's binary between a simulated Home Assistant and real databases and brokers. The
//! services must be installed: `make services-install`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, and so do their helpers"
)]

mod suite {
    mod alerts;
    mod bad_input;
    mod browser;
    mod bus;
    mod commands;
    mod gaps;
    #[path = "../../../worker/tests/suite/gate.rs"]
    mod gate;
    mod health;
    mod logs;
    mod modes;
    mod outages;
    mod page;
    // The binaries are tested by the same means.
    #[allow(dead_code, reason = "the worker's tests use it too")]
    #[path = "../../../worker/tests/suite/process.rs"]
    mod process;
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
    #[allow(dead_code, reason = "the worker's tests use it too")]
    #[path = "../../../worker/tests/suite/stored.rs"]
    mod stored;
    mod support;
    mod traces;
    mod versions;
    mod weather;
}
