//! To where events are safe: batches, routes and the spool.

pub mod batcher;
pub mod direct;
pub mod encoded;
pub mod open_batch;
pub mod outputs;
pub mod route;
pub mod router;
pub mod standby;
pub mod workers;
