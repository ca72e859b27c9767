use super::*;
use crate::SpoolError;

#[tokio::test]
async fn batches_come_back_in_order_and_leave_when_removed() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    let mut ids = Vec::new();
    for number in 1..=5 {
        ids.push(spool.append(batch(number, 1_000)).await.unwrap().id);
    }
    assert!(ids.is_sorted());
    let stats = spool.stats();
    assert_eq!(
        (stats.batches, stats.events, stats.oldest_ns),
        (5, 2 + 3 + 4 + 5 + 6, Some(1))
    );
    assert_eq!(stats.bytes, 5 * 1_064);

    let first = spool.oldest(0, 2, usize::MAX).await.unwrap();
    assert_eq!(
        first.iter().map(|batch| batch.id).collect::<Vec<_>>(),
        ids[..2]
    );
    assert_eq!(first[1].batch, batch(2, 1_000));
    assert_eq!(spool.remove(vec![ids[0], ids[2], 999]).await, Ok(2));
    assert_eq!(spool.stats().oldest_ns, Some(2));

    spool.set_written_direct(vec![ids[1]]).await.unwrap();
    assert_eq!(spool.count_refusal(ids[1]).await, Ok(1));
    assert_eq!(spool.count_refusal(ids[1]).await, Ok(2));
    assert_eq!(spool.count_refusal(ids[0]).await, Ok(0), "it is gone");
    spool.close().await;

    let spool = open(directory.path()).await;
    let left = everything(&spool).await;
    assert_eq!(
        left.iter().map(|batch| batch.id).collect::<Vec<_>>(),
        [ids[1], ids[3], ids[4]]
    );
    assert_eq!((left[0].refusals, left[0].batch.written_direct), (2, true));
    assert_eq!((left[1].refusals, left[1].batch.written_direct), (0, false));
}

/// `SpoolError` has no equality of its own (SQLite's errors have none that matters).
impl PartialEq for SpoolError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

#[tokio::test]
async fn a_page_is_bounded_in_batches_and_in_bytes_but_never_empty() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    for number in 1..=10 {
        spool.append(batch(number, 1_000)).await.unwrap();
    }
    // (frames_max, bytes_max, batches expected)
    let cases = [
        (100, 10_000, 10),
        (3, 10_000, 3),
        (100, 2_500, 2),
        (100, 1, 1),
        (0, 10_000, 0),
    ];
    for (batches_max, bytes_max, expected) in cases {
        let page = spool.oldest(0, batches_max, bytes_max).await.unwrap();
        assert_eq!(
            page.len(),
            expected,
            "{batches_max} batches, {bytes_max} bytes"
        );
    }
}

#[tokio::test]
async fn an_id_is_not_given_twice_when_the_spool_empties() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    let first = spool.append(batch(1, 10)).await.unwrap().id;
    spool.remove(vec![first]).await.unwrap();
    assert!(spool.append(batch(2, 10)).await.unwrap().id > first);
    // A removal that comes late must not hit the new batch.
    assert_eq!(spool.remove(vec![first]).await, Ok(0));
}

#[tokio::test]
async fn marks_are_durable() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    for (name, value) in [
        ("low_water_ns", 1),
        ("epoch", i64::MAX),
        ("low_water_ns", -2),
    ] {
        spool.set_mark(name, value).await.unwrap();
    }
    spool.close().await;
    let marks = open(directory.path()).await.marks().await.unwrap();
    let expected = [
        ("epoch".to_owned(), i64::MAX),
        ("low_water_ns".to_owned(), -2),
    ];
    assert_eq!(marks, expected.into());
}

#[tokio::test]
async fn concurrent_appends_share_transactions_and_all_survive() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..2_000 {
        let spool = spool.clone();
        tasks.spawn(async move { spool.append(batch(number, 100)).await.unwrap().id });
    }
    let mut ids = tasks.join_all().await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2_000);
    spool.close().await;
    let spool = open(directory.path()).await;
    let mut numbers: Vec<_> = everything(&spool)
        .await
        .iter()
        .map(|f| f.batch.oldest_ns)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_closed_spool_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    let other = spool.clone();
    spool.close().await;
    assert!(matches!(
        other.append(batch(1, 10)).await,
        Err(SpoolError::Closed)
    ));
    assert!(matches!(
        other.oldest(0, 1, 1).await,
        Err(SpoolError::Closed)
    ));
}

#[tokio::test]
async fn every_commit_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    // synchronous 2 is FULL; auto_vacuum 2 is INCREMENTAL.
    for (pragma, expected) in [
        ("synchronous", "2"),
        ("journal_mode", "wal"),
        ("auto_vacuum", "2"),
    ] {
        let found = spool
            .read(move |store| {
                store
                    .connection
                    .pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0))
            })
            .await
            .unwrap();
        let found = match found {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        };
        assert_eq!(found, expected, "{pragma}");
    }
}
