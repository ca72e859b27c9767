use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use super::*;
use crate::OpenError;

fn at(path: PathBuf) -> SpoolOptions {
    SpoolOptions {
        path,
        ..options(Path::new(""))
    }
}

#[tokio::test]
async fn a_place_that_cannot_hold_a_spool_is_named_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    fs::create_dir(directory.path().join("folder")).unwrap();
    let cases = [
        ("missing/spool.db", "No such file"),
        ("file/spool.db", "is not a directory"),
        ("folder", "it is a directory"),
        ("..", "does not name a file"),
    ];
    for (name, cause) in cases {
        let path = directory.path().join(name);
        let error = Spool::open(at(path.clone())).await.unwrap_err();
        let said = error.to_string();
        assert!(
            matches!(error, OpenError::Unusable { .. }),
            "{name}: {said}"
        );
        for part in [
            "SPOOL_PATH",
            &path.display().to_string(),
            cause,
            "may write to",
        ] {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
    }
}

/// Root may write anywhere, so the place is one where nobody may.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let error = Spool::open(at("/proc/spool.db".into())).await.unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("/proc/spool.db"));
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).await;
    first.append(batch(1, 10)).await.unwrap();
    for attempt in [
        Spool::open(options(directory.path())).await,
        Spool::open_existing(options(directory.path())).await,
    ] {
        let error = attempt.unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        assert!(
            error.to_string().contains("a producer is running on it"),
            "{error}"
        );
    }
    first.append(batch(2, 10)).await.unwrap();
    // Dropped, not closed: the next opener waits for the thread to let go.
    drop(first);
    let opened = Spool::open(options(directory.path())).await.unwrap();
    assert_eq!((opened.report.batches, opened.report.events), (2, 2 + 3));
}

#[tokio::test]
async fn a_visitor_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let error = Spool::open_existing(options(directory.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_is_not_ours_to_write_is_left_alone() {
    // (what made the file, part of the message)
    let cases = [
        ("CREATE TABLE states (id INTEGER)", "another program"),
        ("PRAGMA user_version = 7", "another program"),
        (
            "PRAGMA application_id = 1212240720; PRAGMA user_version = 99;
             CREATE TABLE later (id INTEGER)",
            "has layout 99, this program knows up to 2",
        ),
    ];
    for (statements, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path());
        Connection::open(&options.path)
            .unwrap()
            .execute_batch(statements)
            .unwrap();
        let before = fs::read(&options.path).unwrap();
        let said = Spool::open(options.clone()).await.unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        assert_eq!(fs::read(&options.path).unwrap(), before, "{statements}");
    }
}

#[tokio::test]
async fn a_file_whose_creation_was_cut_short_is_completed() {
    for statements in ["", "PRAGMA auto_vacuum = 2; PRAGMA journal_mode = WAL"] {
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path());
        Connection::open(&options.path)
            .unwrap()
            .execute_batch(statements)
            .unwrap();
        let opened = Spool::open(options).await.unwrap();
        assert_eq!(opened.report.moved_aside, None);
        opened.spool.append(batch(1, 10)).await.unwrap();
    }
}
