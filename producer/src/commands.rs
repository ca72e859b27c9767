//! The commands beside `run`.

pub mod check;
pub mod demo;
pub mod import;
