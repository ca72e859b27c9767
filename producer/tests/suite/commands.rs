//! `import`, `check` and `healthcheck` of both binaries, against real databases and brokers.

mod check;
mod import;
mod ipv6;

use ha_kit::{Ended, Process};
use std::path::{Path, PathBuf};

type Variables = Vec<(&'static str, String)>;

pub fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_producer")).with_file_name(name);
    assert!(
        path.is_file(),
        "{} is not there: cargo build -p {name}",
        path.display()
    );
    path
}

/// Runs a command to its end.
pub async fn run(name: &str, arguments: &[&str], variables: &[(&'static str, String)]) -> Ended {
    Process::start(&binary(name), arguments, variables)
        .ended()
        .await
}
