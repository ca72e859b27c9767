//! How many batches a second the spool takes, durably, and gives back: `cargo run -p ha-spool
//! --example throughput [DIRECTORY]`. The directory decides: a memory file system has no fsync.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ha_spool::{Spool, SpoolBatch, SpoolOptions};
use rand::RngCore as _;

const APPENDERS: u32 = 64;
const MEASURED: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let directory = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    for (name, events, bytes) in [
        ("100 events, 100 KB", 100, 100_000),
        ("1 event, 1 KB", 1, 1_000),
    ] {
        measure(&directory, name, events, bytes).await?;
    }
    Ok(())
}

async fn measure(
    directory: &std::path::Path,
    name: &str,
    events: u32,
    bytes: usize,
) -> anyhow::Result<()> {
    let directory = tempfile::tempdir_in(directory)?;
    let options = SpoolOptions::new(directory.path().join("spool.db"), 8 << 30);
    let spool = Spool::open(options).await?.spool;
    // Of random bytes: nothing is compressed.
    let mut payload = vec![0; bytes];
    rand::rng().fill_bytes(&mut payload);
    let payload = Bytes::from(payload);
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..APPENDERS {
        let (spool, payload) = (spool.clone(), payload.clone());
        tasks.spawn(async move {
            let mut slowest = Duration::ZERO;
            while begun.elapsed() < MEASURED {
                let asked = Instant::now();
                let batch = SpoolBatch {
                    payload: payload.clone(),
                    events,
                    oldest_ns: 0,
                    written_direct: false,
                };
                spool.append(batch).await?;
                slowest = slowest.max(asked.elapsed());
            }
            Ok::<_, ha_spool::SpoolError>(slowest)
        });
    }
    let mut slowest = Duration::ZERO;
    while let Some(result) = tasks.join_next().await {
        slowest = slowest.max(result??);
    }
    let batches = spool.stats().batches as f64;
    let rate = batches / begun.elapsed().as_secs_f64();
    println!(
        "{name}: {rate:.0} batches/s appended ({:.0} events/s, {:.0} MB/s), slowest {slowest:?}",
        rate * f64::from(events),
        rate * bytes as f64 / 1e6
    );
    let begun = Instant::now();
    loop {
        let page = spool.oldest(0, 256, 8 << 20).await?;
        if page.is_empty() {
            break;
        }
        spool
            .remove(page.iter().map(|batch| batch.id).collect())
            .await?;
    }
    println!(
        "{name}: {:.0} batches/s drained",
        batches / begun.elapsed().as_secs_f64()
    );
    spool.close().await;
    Ok(())
}
