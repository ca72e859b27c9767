//! The dead-letter workbench and the audit: the real binary against real services.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "workbench/audit.rs"]
mod audit;
#[path = "workbench/letters.rs"]
mod letters;
#[path = "workbench/replay.rs"]
mod replay;
#[path = "workbench/spool.rs"]
mod spool;
#[path = "workbench/support.rs"]
mod support;
