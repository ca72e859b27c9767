//! Everything under `deploy/` and `k8s/`, checked by the tools that read it, and by assertions for
//! what those tools miss. `deploy/checks/install.sh` installs the tools.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, and so do their helpers"
)]

mod compose;
mod defects;
mod fleet;
mod grafana;
mod kubernetes;
mod metrics;
mod prometheus;
mod rabbitmq;
mod scaling;
mod settings;
mod structure;
mod tools;
