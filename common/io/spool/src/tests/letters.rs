use super::*;
use crate::StoredLetter;

fn letter(number: u8, bytes: usize) -> StoredLetter {
    StoredLetter {
        id: [number; 16],
        headers: vec![
            ("x-ha-reason".into(), "sink_rejected".into()),
            ("x-ha-error".into(), format!("\"quoted\", {number}\n🌡")),
        ],
        payload: Bytes::from(vec![number; bytes]),
        failed_at_ns: i64::from(number) * 1_000,
    }
}

async fn listed(spool: &Spool, page: usize) -> Vec<StoredLetter> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let letters = spool.list_letters(after, page).await.unwrap();
        let Some(last) = letters.last() else {
            return all;
        };
        after = last.position;
        all.extend(letters.into_iter().map(|listed| listed.letter));
    }
}

#[tokio::test]
async fn letters_are_kept_listed_and_taken() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    let letters: Vec<_> = (1..=7).map(|number| letter(number, 10)).collect();
    assert_eq!(spool.put_letters(letters.clone()).await, Ok(0));
    spool.close().await;

    let visitor = Spool::open_existing(options(directory.path()))
        .await
        .unwrap()
        .spool;
    assert_eq!(visitor.stats().letters, 7);
    for page in [1, 3, 100] {
        assert_eq!(listed(&visitor, page).await, letters, "pages of {page}");
    }
    assert_eq!(
        visitor.get_letter([3; 16]).await,
        Ok(Some(letters[2].clone()))
    );
    assert_eq!(visitor.get_letter([99; 16]).await, Ok(None));
    assert_eq!(
        visitor.take_letters(vec![[1; 16], [99; 16], [7; 16]]).await,
        Ok(2)
    );
    assert_eq!(listed(&visitor, 100).await, letters[1..6]);
}

#[tokio::test]
async fn a_letter_put_again_replaces_the_older_and_moves_to_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path()).await;
    spool
        .put_letters(vec![letter(1, 10), letter(2, 10)])
        .await
        .unwrap();
    let cursor = spool.list_letters(0, 10).await.unwrap()[1].position;
    let again = StoredLetter {
        failed_at_ns: 5,
        ..letter(1, 20)
    };
    assert_eq!(spool.put_letters(vec![again.clone()]).await, Ok(0));
    assert_eq!(listed(&spool, 10).await, [letter(2, 10), again.clone()]);
    // A replay that began before it failed again must be able to tell.
    assert_eq!(
        spool.list_letters(cursor, 10).await.unwrap()[0].letter,
        again
    );
    assert_eq!(spool.stats().letters, 2);
}

#[tokio::test]
async fn letters_are_bounded_by_number_and_by_bytes() {
    // (letters_max, letters_bytes_max, numbers expected to stay, dropped)
    let cases: [(u64, u64, &[u8], u64); 4] = [
        (3, MIB, &[3, 4, 5], 2),
        (100, 2_200, &[4, 5], 3),
        (100, 10, &[5], 4),
        (100, MIB, &[1, 2, 3, 4, 5], 0),
    ];
    for (letters_max, letters_bytes_max, stay, dropped) in cases {
        let directory = tempfile::tempdir().unwrap();
        let options = SpoolOptions {
            letters_max,
            letters_bytes_max,
            ..options(directory.path())
        };
        let spool = Spool::open(options).await.unwrap().spool;
        let mut found_dropped = 0;
        for number in 1..=5 {
            found_dropped += spool
                .put_letters(vec![letter(number, 1_000)])
                .await
                .unwrap();
        }
        let left: Vec<_> = listed(&spool, 2)
            .await
            .iter()
            .map(|letter| letter.id[0])
            .collect();
        assert_eq!(
            (&left[..], found_dropped),
            (stay, dropped),
            "{letters_max}, {letters_bytes_max}"
        );
        assert_eq!(spool.stats().letters, stay.len() as u64);
    }
}

#[tokio::test]
async fn a_page_of_large_letters_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        letters_bytes_max: 64 * MIB,
        ..options(directory.path())
    };
    let spool = Spool::open(options).await.unwrap().spool;
    for number in 1..=20 {
        spool
            .put_letters(vec![letter(number, 1_000_000)])
            .await
            .unwrap();
    }
    let page = spool.list_letters(0, 100).await.unwrap();
    assert_eq!(page.len(), 8, "8 MiB of letters of 1 MB");
    assert_eq!(listed(&spool, 100).await.len(), 20);
}
