//! The load tester: drives the real system with a simulated Home Assistant, then compares what the
//! simulator sent with what the database holds.
//!
//! What it reports comes from the simulator's ledger, the database, the broker and the kernel;
//! the system under test is asked only for its latency histograms.

mod bench;
pub mod cli;
mod home;
pub mod page;
pub mod progress;
pub mod run;
