//! The commands beside `run`.

pub mod audit;
pub mod check;
pub mod dlq;
pub mod explain;
pub mod moment;
pub mod terminal;
