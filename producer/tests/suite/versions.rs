//! Files that earlier versions left behind are read by this one, and nothing in them is lost.
//!
//! The fixtures are real: `points-layout-1.sqlite` is the embedded database after an import of
//! eight captured events, `spool-layout-1.sqlite` the spool of a producer whose broker was away,
//! with ten batches of batch version 1. They are never made again: a later layout gets files of its
//! own beside them.

use crate::support::{Files, home, producer};
use ha_kit::eventually;
use std::path::Path;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

#[tokio::test]
async fn spool_and_database_of_the_first_layout_are_taken_over() {
    let (home, files) = (home().await, Files::new());
    std::fs::copy(fixture("points-layout-1.sqlite"), files.database()).unwrap();
    std::fs::copy(fixture("spool-layout-1.sqlite"), files.spool()).unwrap();
    let before = files.points();
    assert_eq!(before.len(), 8);

    let process = producer(&files.embedded(&home, "inline"));
    process.wait_until_ready().await;
    eventually("the spool to be drained", async || {
        (process.status().await["spool"]["events"] == 0).then_some(())
    })
    .await;
    process.stop().await;

    let after = files.points();
    for point in &before {
        assert!(after.contains(point), "{point:?} is gone");
    }
    let mut drained: Vec<_> = after
        .iter()
        .filter(|point| point.text("instance") == "older")
        .map(|point| point.columns["sequence"].as_i64().unwrap())
        .collect();
    drained.sort_unstable();
    assert_eq!(drained, (1..=10).collect::<Vec<_>>());
}
