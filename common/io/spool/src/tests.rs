//! Tests that need the thread or the file; the pure parts are tested where they stand.

mod batches;
mod bounds;
mod compressed;
mod damage;
mod dead_letters;
mod model;
mod opening;

use std::path::Path;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::{Spool, SpoolBatch, SpoolOptions, SpooledBatch};

const MIB: u64 = 1024 * 1024;

fn options(directory: &Path) -> SpoolOptions {
    SpoolOptions {
        dead_letters_max: 100,
        dead_letters_bytes_max: MIB,
        ..SpoolOptions::new(directory.join("spool.db"), 256 * MIB)
    }
}

async fn open(directory: &Path) -> Spool {
    Spool::open(options(directory)).await.unwrap().spool
}

/// A batch that can be told from every other: its number is its time and makes its payload, which
/// compressing would not make smaller.
fn batch(number: u32, bytes: usize) -> SpoolBatch {
    let mut payload = vec![0; bytes];
    StdRng::seed_from_u64(u64::from(number)).fill_bytes(&mut payload);
    SpoolBatch {
        payload: payload.into(),
        events: number % 100 + 1,
        oldest_ns: i64::from(number),
        written_direct: false,
    }
}

/// Everything in the spool, read as a drain reads it.
async fn everything(spool: &Spool) -> Vec<SpooledBatch> {
    let mut all: Vec<SpooledBatch> = Vec::new();
    loop {
        let after = all.last().map_or(0, |last| last.id);
        let page = spool.oldest(after, 100, 1 << 20).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}
