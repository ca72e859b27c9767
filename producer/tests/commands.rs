//! `import`, `check` and `healthcheck` of both binaries, against real databases and brokers. The
//! services must be installed: `make services-install`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, and so do their helpers"
)]

mod commands {
    mod check;
    mod import;
    // Every test binary uses its own part of the means that they share.
    #[allow(dead_code, reason = "shared")]
    #[path = "../../../worker/tests/suite/process.rs"]
    mod process;
    #[allow(dead_code, reason = "shared")]
    #[path = "../../../worker/tests/suite/stored.rs"]
    mod stored;

    use process::{Ended, Process};
    use std::path::{Path, PathBuf};

    type Variables = Vec<(&'static str, String)>;

    fn binary(name: &str) -> PathBuf {
        let path = Path::new(env!("CARGO_BIN_EXE_producer")).with_file_name(name);
        assert!(
            path.is_file(),
            "{} is not there: cargo build -p {name}",
            path.display()
        );
        path
    }

    /// Runs a command to its end.
    async fn run(name: &str, arguments: &[&str], variables: &[(&'static str, String)]) -> Ended {
        Process::start(&binary(name), arguments, variables)
            .ended()
            .await
    }
}
