//! The producer binary: reads the command line and starts things.

use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Gives back within seconds what a pause of the broker or the database made it hold. The system's
/// allocator keeps it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    producer::cli::run()
}
