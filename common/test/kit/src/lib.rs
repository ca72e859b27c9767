//! What the tests of the binaries share: running a binary, waiting with a deadline, and reading back
//! what the services hold.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, and so do their helpers"
)]
#![allow(missing_docs, reason = "read by tests only, and most names say it")]

mod eventually;
mod gate;
mod process;
mod stored;

pub use eventually::{SOON, eventually};
pub use gate::Gate;
pub use process::{
    Ended, Process, an_admin_address_in_use_ends_the_start, free_port,
    log_level_changes_while_it_runs, no_broker_at_the_address_is_said, settings_are_refused,
};
pub use stored::{Place, Stored};
