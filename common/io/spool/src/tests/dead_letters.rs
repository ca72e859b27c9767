use super::*;
use crate::StoredDeadLetter;

fn dead_letter(number: u8, bytes: usize) -> StoredDeadLetter {
    StoredDeadLetter {
        id: [number; 16],
        headers: vec![
            ("x-ha-reason".into(), "sink_rejected".into()),
            ("x-ha-error".into(), format!("\"quoted\", {number}\n🌡")),
        ],
        payload: Bytes::from(vec![number; bytes]),
        failed_at_ns: i64::from(number) * 1_000,
    }
}

async fn listed(spool: &Spool, page: usize) -> Vec<StoredDeadLetter> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let dead_letters = spool.list_dead_letters(after, page).await.unwrap();
        let Some(last) = dead_letters.last() else {
            return all;
        };
        after = last.position;
        all.extend(dead_letters.into_iter().map(|listed| listed.dead_letter));
    }
}

#[tokio::test]
async fn dead_letters_are_kept_listed_and_taken() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    let dead_letters: Vec<_> = (1..=7).map(|number| dead_letter(number, 10)).collect();
    assert_eq!(spool.put_dead_letters(dead_letters.clone()).await, Ok(0));
    spool.close().await;

    let visitor = Spool::open_existing(options(directory.path()))
        .await
        .unwrap()
        .spool;
    assert_eq!(visitor.stats().dead_letters, 7);
    for page in [1, 3, 100] {
        assert_eq!(
            listed(&visitor, page).await,
            dead_letters,
            "pages of {page}"
        );
    }
    assert_eq!(
        visitor.get_dead_letter([3; 16]).await,
        Ok(Some(dead_letters[2].clone()))
    );
    assert_eq!(visitor.get_dead_letter([99; 16]).await, Ok(None));
    assert_eq!(
        visitor
            .take_dead_letters(vec![[1; 16], [99; 16], [7; 16]])
            .await,
        Ok(2)
    );
    assert_eq!(listed(&visitor, 100).await, dead_letters[1..6]);
}

#[tokio::test]
async fn a_dead_letter_put_again_replaces_the_older_and_moves_to_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    spool
        .put_dead_letters(vec![dead_letter(1, 10), dead_letter(2, 10)])
        .await
        .unwrap();
    let cursor = spool.list_dead_letters(0, 10).await.unwrap()[1].position;
    let again = StoredDeadLetter {
        failed_at_ns: 5,
        ..dead_letter(1, 20)
    };
    assert_eq!(spool.put_dead_letters(vec![again.clone()]).await, Ok(0));
    assert_eq!(
        listed(&spool, 10).await,
        [dead_letter(2, 10), again.clone()]
    );
    // A replay that began before it failed again must be able to tell.
    assert_eq!(
        spool.list_dead_letters(cursor, 10).await.unwrap()[0].dead_letter,
        again
    );
    assert_eq!(spool.stats().dead_letters, 2);
}

#[tokio::test]
async fn dead_letters_are_bounded_by_number_and_by_bytes() {
    // (letters_max, letters_bytes_max, numbers expected to stay, dropped)
    let cases: [(u64, u64, &[u8], u64); 4] = [
        (3, MIB, &[3, 4, 5], 2),
        (100, 2_200, &[4, 5], 3),
        (100, 10, &[5], 4),
        (100, MIB, &[1, 2, 3, 4, 5], 0),
    ];
    for (dead_letters_max, dead_letters_bytes_max, stay, dropped) in cases {
        let directory = tempfile::tempdir().unwrap();
        let options = SpoolOptions {
            dead_letters_max,
            dead_letters_bytes_max,
            ..options(directory.path())
        };
        let spool = Spool::open(options).await.unwrap().spool;
        let mut found_dropped = 0;
        for number in 1..=5 {
            found_dropped += spool
                .put_dead_letters(vec![dead_letter(number, 1_000)])
                .await
                .unwrap();
        }
        let left: Vec<_> = listed(&spool, 2)
            .await
            .iter()
            .map(|dead_letter| dead_letter.id[0])
            .collect();
        assert_eq!(
            (&left[..], found_dropped),
            (stay, dropped),
            "{dead_letters_max}, {dead_letters_bytes_max}"
        );
        assert_eq!(spool.stats().dead_letters, stay.len() as u64);
    }
}

#[tokio::test]
async fn a_page_of_large_dead_letters_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        dead_letters_bytes_max: 64 * MIB,
        ..options(directory.path())
    };
    let spool = Spool::open(options).await.unwrap().spool;
    for number in 1..=20 {
        spool
            .put_dead_letters(vec![dead_letter(number, 1_000_000)])
            .await
            .unwrap();
    }
    let page = spool.list_dead_letters(0, 100).await.unwrap();
    assert_eq!(page.len(), 8, "8 MiB of dead letters of 1 MB");
    assert_eq!(listed(&spool, 100).await.len(), 20);
}
