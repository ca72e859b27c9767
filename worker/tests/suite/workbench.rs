//! The dead-letter workbench and the audit: the real binary against real services.

mod audit;
mod dead_letters;
mod replay;
mod spool;
mod support;
