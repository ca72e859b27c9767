//! The load tester's command line: drives the real system with a simulated Home Assistant, then
//! compares what the simulator sent with what the database holds.

mod bench;
pub mod cli;
mod home;
mod run;
