use std::fs;

use super::*;
use crate::{Dropped, SpoolError};

fn small(directory: &Path, bytes_max: u64) -> SpoolOptions {
    SpoolOptions {
        bytes_max,
        ..options(directory)
    }
}

#[tokio::test]
async fn over_the_bound_the_oldest_go_and_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let room_for_three = 3 * (100 + 64);
    let spool = Spool::open(small(directory.path(), room_for_three))
        .await
        .unwrap()
        .spool;
    let written_direct = SpoolBatch {
        written_direct: true,
        ..batch(2, 100)
    };
    for batch in [batch(1, 100), written_direct, batch(3, 100)] {
        assert_eq!(
            spool.append(batch).await.unwrap().dropped,
            Dropped::default()
        );
    }
    // Larger than one: two have to go, of 2 and 3 events.
    let dropped = spool.append(batch(4, 200)).await.unwrap().dropped;
    assert_eq!(
        dropped,
        Dropped {
            batches: 2,
            events: 5,
            events_written_direct: 3
        }
    );
    let left: Vec<_> = everything(&spool)
        .await
        .into_iter()
        .map(|f| f.batch)
        .collect();
    assert_eq!(left, [batch(3, 100), batch(4, 200)]);

    let too_large = spool.append(batch(5, 1_000)).await;
    assert!(matches!(
        too_large,
        Err(SpoolError::BatchTooLarge {
            bytes: 1_064,
            bytes_max: 492
        })
    ));
    assert_eq!(spool.stats().batches, 2, "nothing went for it");
}

#[tokio::test]
async fn batches_handed_out_go_last() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(small(directory.path(), 4 * 164))
        .await
        .unwrap()
        .spool;
    for number in 1..=4 {
        spool.append(batch(number, 100)).await.unwrap();
    }
    let held: Vec<_> = spool.oldest(0, 2, usize::MAX).await.unwrap();
    let numbers = async |spool: &Spool| {
        let found = spool.read(|store| {
            let mut query = store
                .connection
                .prepare("SELECT oldest_ns FROM frames ORDER BY id")?;
            query
                .query_map([], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()
        });
        found.await.unwrap()
    };
    spool.append(batch(5, 100)).await.unwrap();
    assert_eq!(numbers(&spool).await, [1, 2, 4, 5]);
    spool
        .release(held.iter().map(|batch| batch.id).collect())
        .await
        .unwrap();
    spool.append(batch(6, 100)).await.unwrap();
    assert_eq!(numbers(&spool).await, [2, 4, 5, 6]);
    // All handed out: the oldest goes after all.
    everything(&spool).await;
    spool.append(batch(7, 100)).await.unwrap();
    assert_eq!(numbers(&spool).await, [4, 5, 6, 7]);
}

#[tokio::test]
async fn a_full_disk_is_said_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    let pages_max = async |pages: i64| {
        let set = move |store: &mut crate::store::Store| {
            store
                .connection
                .pragma_update(None, "max_page_count", pages)
        };
        spool.read(set).await.unwrap();
    };
    pages_max(100).await;
    let mut kept = Vec::new();
    let full = loop {
        match spool.append(batch(kept.len() as u32, 20_000)).await {
            Ok(appended) => kept.push(appended.id),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, SpoolError::DiskFull { .. }), "{full}");
    assert!(full.to_string().contains("spool.db"));
    let stats = spool.stats();
    assert!(stats.disk_full);
    assert_eq!(
        stats.batches,
        kept.len() as u64,
        "the one that failed is not counted"
    );

    // In a group, what fits is kept although its neighbours do not fit.
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let spool = spool.clone();
        let bytes = if number == 7 { 100 } else { 20_000 };
        tasks.spawn(async move { spool.append(batch(number, bytes)).await.is_ok() });
    }
    let kept_more = tasks
        .join_all()
        .await
        .into_iter()
        .filter(|kept| *kept)
        .count();
    assert_eq!(kept_more, 1);

    // Removing works while it is full, and makes room.
    assert_eq!(spool.remove(vec![kept[0]]).await, Ok(1));
    assert!(!spool.stats().disk_full);
    spool.append(batch(1_000, 15_000)).await.unwrap();
    assert!(spool.append(batch(1_001, 200_000)).await.is_err());
    pages_max(1_000_000).await;
    spool.append(batch(1_001, 200_000)).await.unwrap();
    assert!(!spool.stats().disk_full);
    assert_eq!(everything(&spool).await.len(), kept.len() + 2);
}

#[tokio::test]
async fn a_nearly_full_volume_takes_no_more_batches_and_can_be_drained() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    let spool = Spool::open(options.clone()).await.unwrap().spool;
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(spool.append(batch(number, 20_000)).await.unwrap().id);
    }
    spool.close().await;

    let nearly_full = SpoolOptions {
        disk_free_bytes_min: u64::MAX,
        ..options
    };
    let spool = Spool::open(nearly_full).await.unwrap().spool;
    let refused = spool.append(batch(100, 20_000)).await;
    assert!(
        matches!(refused, Err(SpoolError::DiskFull { .. })),
        "{refused:?}"
    );
    assert!(spool.stats().disk_full);
    assert_eq!(spool.remove(ids.split_off(20)).await, Ok(20));
    // What was freed within the file may be used again.
    spool.append(batch(100, 20_000)).await.unwrap();
    assert_eq!(
        (spool.stats().batches, spool.stats().disk_full),
        (21, false)
    );
}

#[tokio::test]
async fn the_file_stays_near_the_bound_and_shrinks_when_empty() {
    let directory = tempfile::tempdir().unwrap();
    let bytes_max = 20 * MIB;
    let options = small(directory.path(), bytes_max);
    let (file, wal) = (options.path.clone(), directory.path().join("spool.db-wal"));
    let spool = Spool::open(options).await.unwrap().spool;
    let size = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
    let (mut file_max, mut wal_max) = (0, 0);
    // Five times the bound, in batches of 100 KB appended by eight at a time.
    for round in 0..128_u32 {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..8 {
            let spool = spool.clone();
            tasks.spawn(async move {
                spool
                    .append(batch(round * 8 + number, 100_000))
                    .await
                    .unwrap()
            });
        }
        tasks.join_all().await;
        file_max = file_max.max(size(&file));
        wal_max = wal_max.max(size(&wal));
    }
    assert!(spool.stats().bytes <= bytes_max);
    assert!(
        file_max <= bytes_max + bytes_max / 10,
        "freed space is reused: {file_max}"
    );
    assert!(wal_max <= 24 * MIB, "the WAL is bounded: {wal_max}");

    let ids = everything(&spool)
        .await
        .iter()
        .map(|batch| batch.id)
        .collect();
    spool.remove(ids).await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // Freed in steps while idle, and seen in the file at the next checkpoint.
    while size(&file) > 6 * MIB {
        assert!(
            std::time::Instant::now() < deadline,
            "the file is still {}",
            size(&file)
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    spool.append(batch(1, 100_000)).await.unwrap();
    assert_eq!(everything(&spool).await.len(), 1);
}
