//! However the load tester ends, its processes end too.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::support::loadtest;

const WAIT_MAX: Duration = Duration::from_secs(60);

/// The children of a process, by `/proc`.
fn children(parent: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(
            text.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    children
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < WAIT_MAX, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A long run whose producer writes to its file already; and the producer.
async fn running(folder: &std::path::Path, seconds: &str) -> (Child, u32) {
    let mut command = loadtest();
    command.args([
        "run",
        "steady",
        "--mode",
        "inline",
        "--sink",
        "sqlite",
        "--seconds",
        seconds,
    ]);
    command.args(["--drain-seconds", "2", "--json", "-", "--rate", "200"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    // Its own folder for what a killed run cannot tidy up.
    let child = command.env("TMPDIR", folder).spawn().unwrap();
    let pid = child.id().unwrap();
    let stored = || {
        let runs = std::fs::read_dir(folder).unwrap().flatten();
        runs.into_iter().any(|run| {
            let file = run.path().join("points.db-wal");
            std::fs::metadata(file).is_ok_and(|file| file.len() > 100_000)
        })
    };
    until("points are stored", stored).await;
    let children = children(pid);
    assert_eq!(children.len(), 1, "the producer");
    (child, children[0])
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn sigterm_stops_everything_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, producer) = running(folder.path(), "600").await;
    signal(child.id().unwrap(), Signal::TERM);
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
    assert!(!runs(producer), "the producer outlived the load tester");
}

#[tokio::test]
async fn a_killed_load_tester_takes_its_processes_along() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, producer) = running(folder.path(), "600").await;
    signal(child.id().unwrap(), Signal::KILL);
    child.wait().await.unwrap();
    until("the producer has ended", || !runs(producer)).await;
}

#[tokio::test]
async fn a_process_that_dies_makes_the_verdict_a_fail() {
    let folder = tempfile::tempdir().unwrap();
    let (child, producer) = running(folder.path(), "5").await;
    signal(producer, Signal::KILL);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"], "fail");
    let reasons = report["reasons"].to_string();
    assert!(
        reasons.contains("producer ended before it was asked to"),
        "{report:#}"
    );
    assert!(
        reasons.contains("producer ended with a signal"),
        "{report:#}"
    );
}
