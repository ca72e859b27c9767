//! The scenarios that need no fault.

pub mod backlog;
mod bare;
pub mod cases;
pub mod growth;
pub mod homes;
pub mod modes;
pub mod ramp;
pub mod replay;
pub mod steady;
