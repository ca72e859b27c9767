//! The producer's durable spool: batches that the route did not take, on disk until it does.
//!
//! One SQLite file (`SPOOL_PATH`) holds three things: batches waiting for their route, the dead
//! dead letters of a producer that has no broker to keep them, and small durable marks (the low-water
//! mark of gap fill). The constraints it is built to:
//!
//! - **An acknowledged append survives** `kill -9` and power loss: WAL with `synchronous=FULL`,
//!   and the future of an append resolves only after the commit that holds it.
//! - **Concurrent appends share an fsync.** One thread owns the connection; whatever queued up
//!   while it was committing makes the next transaction.
//! - **Everything is bounded**: the batches (`bytes_max`, oldest go first and are counted), the
//!   dead letters, the queue in front of the thread, a page read while draining, the WAL.
//! - **One process at a time.** The file is locked for as long as it is open; a second opener is
//!   told who has it.
//! - **A damaged file never stops the producer.** It is moved aside, what can be read is carried
//!   over, the rest is counted.
//!
//! What is absent on purpose: no decision about *when* to spool or to drain (that is the
//! router's), no decoding of batches (they are mode-neutral bytes), no encryption.

mod dead_letters;
mod error;
mod job;
mod open;
mod place;
mod rescue;
mod schema;
mod spool;
mod store;
mod thread;
mod types;

#[cfg(test)]
mod tests;

pub use error::{OpenError, SpoolError};
pub use spool::{Opened, Spool};
pub use types::{
    Appended, DeadLetterId, Dropped, ListedDeadLetter, MovedAside, OpenReport, SpoolBatch,
    SpoolOptions, SpoolStats, SpooledBatch, StoredDeadLetter,
};
