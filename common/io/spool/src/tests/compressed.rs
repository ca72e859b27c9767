use super::*;

/// Of the same words again and again, as a home's events are.
fn wordy(number: u32, events: usize) -> SpoolBatch {
    let words: String = (0..events)
        .map(|event| format!("{{\"entity_id\":\"sensor.power_{event}\",\"state\":\"{number}\"}}"))
        .collect();
    SpoolBatch {
        payload: words.into(),
        ..batch(number, 0)
    }
}

#[tokio::test]
async fn batches_take_less_room_than_they_have_and_come_back_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    let given = [wordy(1, 250), batch(2, 10_000), wordy(3, 1), wordy(4, 250)];
    let bytes: u64 = given.iter().map(|batch| batch.payload.len() as u64).sum();
    for batch in &given {
        spool.append(batch.clone()).await.unwrap();
    }
    assert!(spool.stats().bytes < bytes * 2 / 3, "{:?}", spool.stats());
    let counted = spool.stats().bytes;
    spool.close().await;

    let spool = open(directory.path()).await;
    assert_eq!(spool.stats().bytes, counted);
    let found = everything(&spool).await;
    let ids = found.iter().map(|spooled| spooled.id).collect();
    let found: Vec<_> = found.into_iter().map(|spooled| spooled.batch).collect();
    assert_eq!(found, given);
    assert_eq!(spool.remove(ids).await, Ok(4));
    assert_eq!(spool.stats().bytes, 0);
}

#[tokio::test]
async fn a_page_is_no_larger_decompressed_than_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    for number in 0..10 {
        spool.append(wordy(number, 250)).await.unwrap();
    }
    let two = 2 * wordy(0, 250).payload.len();
    assert_eq!(spool.oldest(0, 100, two).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_decompressed_comes_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    for number in 1..=3 {
        spool.append(wordy(number, 250)).await.unwrap();
    }
    let spoil = |store: &mut crate::store::Store| {
        store
            .connection
            .execute("UPDATE payloads SET payload = X'00' WHERE id = 2", [])
    };
    assert_eq!(spool.read(spoil).await.unwrap(), 1);
    let found = everything(&spool).await;
    assert_eq!(found[1].batch.payload, b"\0"[..]);
    assert_eq!(found[2].batch, wordy(3, 250));
}
