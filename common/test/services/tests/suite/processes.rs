//! Which processes are there.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;

/// Every process that carries `dir` in its environment, as all that `services.sh` starts do;
/// zombies have none.
pub fn processes_of(dir: &Path) -> Vec<u32> {
    let needle = dir.as_os_str().as_encoded_bytes();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .windows(needle.len())
                .any(|window| window == needle)
        })
        .collect()
}

/// Looks at a condition until it holds.
pub async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    const DEADLINE: Duration = Duration::from_secs(40);
    let begin = Instant::now();
    while !holds() {
        ensure!(
            begin.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
