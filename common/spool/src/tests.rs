//! Tests that need the thread or the file; the pure parts are tested where they stand.

mod bounds;
mod damage;
mod frames;
mod letters;
mod model;
mod opening;

use std::path::Path;

use bytes::Bytes;

use crate::{Spool, SpoolFrame, SpoolOptions, SpooledFrame};

const MIB: u64 = 1024 * 1024;

fn options(directory: &Path) -> SpoolOptions {
    SpoolOptions {
        letters_max: 100,
        letters_bytes_max: MIB,
        ..SpoolOptions::new(directory.join("spool.db"), 256 * MIB)
    }
}

async fn open(directory: &Path) -> Spool {
    Spool::open(options(directory)).await.unwrap().spool
}

/// A frame that can be told from every other: its number is its time and fills its payload.
fn frame(number: u32, bytes: usize) -> SpoolFrame {
    SpoolFrame {
        payload: Bytes::from(
            number
                .to_le_bytes()
                .into_iter()
                .cycle()
                .take(bytes)
                .collect::<Vec<_>>(),
        ),
        events: number % 100 + 1,
        oldest_ns: i64::from(number),
        written_direct: false,
    }
}

/// Everything in the spool, read as a drain reads it.
async fn everything(spool: &Spool) -> Vec<SpooledFrame> {
    let mut all: Vec<SpooledFrame> = Vec::new();
    loop {
        let after = all.last().map_or(0, |last| last.id);
        let page = spool.oldest(after, 100, 1 << 20).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}
