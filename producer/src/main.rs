//! The producer binary: reads the command line and starts things.

use std::process::ExitCode;

fn main() -> ExitCode {
    producer::cli::run()
}
