//! Tests that need the thread or the file; the pure parts are tested where they stand.

mod bounds;
mod damage;
mod frames;
mod letters;
mod model;
mod opening;
mod packed;

use std::path::Path;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

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

/// A frame that can be told from every other: its number is its time and makes its payload, which
/// packing would not make smaller.
fn frame(number: u32, bytes: usize) -> SpoolFrame {
    let mut payload = vec![0; bytes];
    StdRng::seed_from_u64(u64::from(number)).fill_bytes(&mut payload);
    SpoolFrame {
        payload: payload.into(),
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
