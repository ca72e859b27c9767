//! The dead-letter workbench and the audit: the real binary against real services.

mod audit;
mod letters;
mod replay;
mod spool;
mod support;
