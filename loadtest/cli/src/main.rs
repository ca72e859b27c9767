//! The load tester's binary: reads the command line and starts things.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadtest::cli::run()
}
