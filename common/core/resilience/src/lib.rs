//! When to act: when a batch leaves, the delays between attempts, and whether to attempt at all.
//!
//! Nothing here waits, reads a clock or does IO. Time is an argument and a delay is a return value,
//! so that every rule can be tested by a table.

mod backoff;
mod batching;
mod breaker;

pub use backoff::Backoff;
pub use batching::{Batching, Filling, Leave};
pub use breaker::{Breaker, BreakerOptions, Decision, Failure, State};
