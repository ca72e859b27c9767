//! The worker binary: reads the command line and starts things.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::cli::run()
}
