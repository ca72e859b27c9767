//! The real services, started by this crate. They must be installed: `make services-install`.

mod owner;
mod processes;
mod script;
mod set;
