//! From the queue to the acknowledgement.

pub mod backlog;
pub mod consume;
pub mod held;
pub mod in_flight;
pub mod intake;
pub mod settle;
pub mod split;
