use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::OpenError;

const PAGE: usize = 4_096;

/// A spool of 200 batches of 10 KB and a mark, closed.
async fn filled(directory: &Path) -> (SpoolOptions, u64) {
    let spool = open(directory).await;
    for number in 0..200 {
        spool.append(batch(number, 10_000)).await.unwrap();
    }
    spool.set_mark("low_water_ns", 17).await.unwrap();
    let events = spool.stats().events;
    spool.close().await;
    (options(directory), events)
}

fn aside(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let corrupt = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.contains("spool.db.corrupt-") && !name.ends_with("-wal")
    };
    entries.filter(corrupt).collect()
}

fn fill(path: &Path, from: usize, bytes: usize) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&vec![0xA5; bytes], from as u64).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_moved_aside_and_what_can_be_read_is_kept() {
    // (name, damage, fewest batches that must come along)
    type Damage = fn(&Path);
    let cases: [(&str, Damage, u64); 4] = [
        ("first page overwritten", |path| fill(path, 0, PAGE), 0),
        (
            "not a database",
            |path| fs::write(path, "rubbish ".repeat(1_000)).unwrap(),
            0,
        ),
        (
            "root of the batches overwritten",
            |path| fill(path, 2 * PAGE, PAGE),
            0,
        ),
        (
            "cut in half",
            |path| {
                let file = File::options().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            },
            60,
        ),
    ];
    for (name, damage, batches_min) in cases {
        let directory = tempfile::tempdir().unwrap();
        let (options, _) = filled(directory.path()).await;
        damage(&options.path);
        let damaged = fs::read(&options.path).unwrap();

        let opened = Spool::open(options).await.unwrap();
        // What the opening did not meet, the draining does.
        let batches = everything(&opened.spool).await;
        assert!(
            batches.len() as u64 >= batches_min,
            "{name}: {} batches",
            batches.len()
        );
        for found in &batches {
            let number = u32::try_from(found.batch.oldest_ns).unwrap();
            assert_eq!(found.batch, batch(number, 10_000), "{name}");
        }
        assert!(batches.is_sorted_by_key(|batch| batch.id));
        let stats = opened.spool.stats();
        assert_eq!(
            (stats.batches, stats.moved_aside),
            (batches.len() as u64, 1),
            "{name}"
        );
        let kept = aside(directory.path());
        assert_eq!(kept.len(), 1, "{name}: {kept:?}");
        assert_eq!(
            fs::read(&kept[0]).unwrap(),
            damaged,
            "{name}: the evidence is untouched"
        );
        opened.spool.append(batch(1_000, 10)).await.unwrap();
    }
}

#[tokio::test]
async fn damage_met_while_running_costs_only_what_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let (options, events) = filled(directory.path()).await;
    // In the middle of the payloads: two pages that belong to one batch or to two.
    let pages = fs::read(&options.path).unwrap().len() / PAGE;
    fill(&options.path, pages / 2 * PAGE, 2 * PAGE);

    let opened = Spool::open(options).await.unwrap();
    assert_eq!(opened.report.batches, 200, "nothing is seen at first");
    let spool = opened.spool;
    let batches = everything(&spool).await;
    assert!(
        (190..200).contains(&batches.len()),
        "{} batches",
        batches.len()
    );
    let stats = spool.stats();
    assert_eq!(
        (stats.moved_aside, stats.batches),
        (1, batches.len() as u64)
    );
    assert_eq!(
        stats.events + stats.damaged_events_lost,
        events,
        "every event is accounted for"
    );
    assert_eq!(spool.marks().await.unwrap()["low_water_ns"], 17);
    let newest = batches.last().unwrap().id;
    assert!(spool.append(batch(1, 10)).await.unwrap().id > newest);
    assert_eq!(aside(directory.path()).len(), 1);
}

#[tokio::test]
async fn values_that_the_layout_does_not_allow_are_damage() {
    for statement in [
        "UPDATE frames SET events = -1 WHERE id = 100",
        "DELETE FROM payloads WHERE id = 100",
        "UPDATE frames SET refusals = 1 << 40 WHERE id = 100",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (options, _) = filled(directory.path()).await;
        rusqlite::Connection::open(&options.path)
            .unwrap()
            .execute_batch(statement)
            .unwrap();
        let spool = Spool::open(options).await.unwrap().spool;
        let ids: Vec<_> = everything(&spool)
            .await
            .iter()
            .map(|batch| batch.id)
            .collect();
        let expected: Vec<_> = (1..=200).filter(|id| *id != 100).collect();
        assert_eq!(ids, expected, "{statement}");
        assert_eq!(spool.stats().moved_aside, 1, "{statement}");
        assert_eq!(aside(directory.path()).len(), 1);
    }
}

#[tokio::test]
async fn a_visitor_leaves_a_damaged_file_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (options, _) = filled(directory.path()).await;
    fill(&options.path, 0, PAGE);
    let error = Spool::open_existing(options).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(aside(directory.path()).is_empty());
}

/// A power cut in the middle of a write: the WAL ends anywhere, or in rubbish. What opens is the
/// spool as it was after one of the operations, never a mixture.
#[tokio::test]
async fn a_torn_tail_gives_an_earlier_state() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    let mut states: Vec<Vec<i64>> = vec![vec![]];
    let mut now: Vec<i64> = Vec::new();
    for number in 0..40 {
        if number % 4 == 3 {
            let gone = now.remove(0);
            spool.remove(vec![gone]).await.unwrap();
        } else {
            now.push(spool.append(batch(number, 3_000)).await.unwrap().id);
        }
        states.push(now.clone());
    }
    let wal = fs::read(directory.path().join("spool.db-wal")).unwrap();
    let torn = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for cut in (0..=40).map(|part| wal.len() * part / 40) {
        for tail in [0, 5_000] {
            let options = options(torn.path());
            fs::copy(directory.path().join("spool.db"), &options.path).unwrap();
            let mut torn_wal = wal[..cut].to_vec();
            torn_wal.resize(cut + tail, 0x5A);
            fs::write(torn.path().join("spool.db-wal"), torn_wal).unwrap();
            let opened = Spool::open(options).await.unwrap();
            assert_eq!(opened.report.moved_aside, None, "cut at {cut}");
            let ids: Vec<_> = everything(&opened.spool)
                .await
                .iter()
                .map(|f| f.id)
                .collect();
            let state = states.iter().position(|state| *state == ids);
            seen.push(state.unwrap_or_else(|| panic!("cut at {cut}: {ids:?}")));
            opened.spool.close().await;
        }
    }
    assert!(
        seen.is_sorted(),
        "a later cut gives a later state: {seen:?}"
    );
    assert_eq!(seen.last(), Some(&40), "uncut, nothing is missing");
}
