//! The engine of the load tester: starts and stops the system, drives it with simulated homes, and
//! compares what these sent with what the database holds.
//!
//! What it reports comes from the simulator's ledger, the database, the broker and the kernel;
//! the system under test is asked only for its latency histograms.

pub mod audit;
mod backend;
mod binaries;
pub mod cluster;
pub mod database;
pub mod drive;
pub mod harness;
pub mod http_front;
mod latency;
mod launches;
pub mod dead_letters;
pub mod links;
pub mod plan;
pub mod ports;
pub mod process;
pub mod progress;
pub mod proxy;
pub mod queues;
pub mod reporting;
pub mod run;
pub mod scenario;
mod series;
pub mod settings;
mod simulated_home;
pub mod topology;
pub mod usage;
pub mod verdict;
