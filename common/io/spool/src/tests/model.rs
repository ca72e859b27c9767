//! The spool against a `VecDeque`: random appends, drains, removals, refusals, restarts and
//! crashes.

use std::collections::VecDeque;
use std::fs;

use proptest::prelude::*;

use super::*;
use crate::{Dropped, Opened};

const BYTES_MAX: u64 = 60_000;

#[derive(Debug, Clone)]
enum Operation {
    Append {
        batches: u32,
        bytes: usize,
        written_direct: bool,
    },
    Drain {
        batches: usize,
        bytes: usize,
    },
    /// Of those handed out, confirmed in this order of luck.
    Remove {
        luck: u8,
    },
    Release,
    Refuse {
        nth: usize,
    },
    WrittenDirect {
        nth: usize,
    },
    Reopen,
    /// The file and its WAL as they are on the disk, without the process having a say.
    Crash,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        6 => (1..6_u32, 0..9_000_usize, any::<bool>()).prop_map(
            |(batches, bytes, written_direct)| Operation::Append { batches, bytes, written_direct }
        ),
        3 => (1..8_usize, 1..30_000_usize)
            .prop_map(|(batches, bytes)| Operation::Drain { batches, bytes }),
        3 => any::<u8>().prop_map(|luck| Operation::Remove { luck }),
        1 => Just(Operation::Release),
        1 => (0..12_usize).prop_map(|nth| Operation::Refuse { nth }),
        1 => (0..12_usize).prop_map(|nth| Operation::WrittenDirect { nth }),
        1 => Just(Operation::Reopen),
        2 => Just(Operation::Crash),
    ];
    proptest::collection::vec(operation, 1..50)
}

#[derive(Default)]
struct Model {
    batches: VecDeque<SpooledBatch>,
    held: Vec<i64>,
    /// The drain's cursor.
    after: i64,
    number: u32,
}

fn counted(batch: &SpooledBatch) -> u64 {
    batch.batch.payload.len() as u64 + 64
}

impl Model {
    fn bytes(&self) -> u64 {
        self.batches.iter().map(counted).sum()
    }

    fn make_room(&mut self, bytes: u64) -> Dropped {
        let mut dropped = Dropped::default();
        while !self.batches.is_empty() && self.bytes() + bytes > BYTES_MAX {
            let newest_held = self.held.iter().max().copied().unwrap_or(0);
            let first = self
                .batches
                .iter()
                .position(|batch| batch.id > newest_held)
                .unwrap_or(0);
            let Some(gone) = self.batches.remove(first) else {
                break;
            };
            self.held.retain(|id| *id != gone.id);
            dropped.batches += 1;
            dropped.events += u64::from(gone.batch.events);
            if gone.batch.written_direct {
                dropped.events_written_direct += u64::from(gone.batch.events);
            }
        }
        dropped
    }

    fn restarted(&mut self) {
        self.held.clear();
        self.after = 0;
    }
}

struct Run {
    directory: tempfile::TempDir,
    crashes: u32,
    spool: Spool,
    model: Model,
}

impl Run {
    fn options(directory: &Path, crashes: u32) -> SpoolOptions {
        let path = directory.join(format!("spool-{crashes}.db"));
        SpoolOptions {
            path,
            bytes_max: BYTES_MAX,
            ..options(directory)
        }
    }

    async fn begin() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let Opened { spool, .. } = Spool::open(Self::options(directory.path(), 0))
            .await
            .unwrap();
        Self {
            directory,
            crashes: 0,
            spool,
            model: Model::default(),
        }
    }

    async fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Append {
                batches,
                bytes,
                written_direct,
            } => {
                self.append(batches, bytes, written_direct).await;
            }
            Operation::Drain { batches, bytes } => self.drain(batches, bytes).await,
            Operation::Remove { luck } => {
                let (gone, kept): (Vec<i64>, Vec<i64>) = self
                    .model
                    .held
                    .iter()
                    .partition(|id| (**id * 37) as u8 >= luck);
                let before = self.model.batches.len();
                self.model.batches.retain(|batch| !gone.contains(&batch.id));
                let removed = (before - self.model.batches.len()) as u64;
                self.model.held = kept;
                assert_eq!(self.spool.remove(gone).await, Ok(removed));
            }
            Operation::Release => {
                let ids = std::mem::take(&mut self.model.held);
                self.spool.release(ids).await.unwrap();
                self.model.after = 0;
            }
            Operation::Refuse { nth } => {
                if let Some(batch) = self.model.batches.get_mut(nth) {
                    batch.refusals += 1;
                    assert_eq!(self.spool.count_refusal(batch.id).await, Ok(batch.refusals));
                }
            }
            Operation::WrittenDirect { nth } => {
                if let Some(batch) = self.model.batches.get_mut(nth) {
                    batch.batch.written_direct = true;
                    self.spool.set_written_direct(vec![batch.id]).await.unwrap();
                }
            }
            Operation::Reopen => {
                self.spool.clone().close().await;
                self.open().await;
            }
            Operation::Crash => self.crash().await,
        }
    }

    async fn append(&mut self, batches: u32, bytes: usize, written_direct: bool) {
        for _ in 0..batches {
            self.model.number += 1;
            let batch = SpoolBatch {
                written_direct,
                ..batch(self.model.number, bytes)
            };
            let dropped = self.model.make_room(bytes as u64 + 64);
            let appended = self.spool.append(batch.clone()).await.unwrap();
            assert_eq!(appended.dropped, dropped);
            let newest = self.model.batches.back().map_or(0, |batch| batch.id);
            assert!(appended.id > newest);
            self.model.batches.push_back(SpooledBatch {
                id: appended.id,
                batch,
                refusals: 0,
            });
        }
    }

    async fn drain(&mut self, batches_max: usize, bytes_max: usize) {
        let mut expected: Vec<SpooledBatch> = Vec::new();
        let mut bytes = 0;
        for batch in self
            .model
            .batches
            .iter()
            .filter(|batch| batch.id > self.model.after)
        {
            bytes += batch.batch.payload.len();
            if expected.len() == batches_max || (bytes > bytes_max && !expected.is_empty()) {
                break;
            }
            expected.push(batch.clone());
        }
        let found = self
            .spool
            .oldest(self.model.after, batches_max, bytes_max)
            .await
            .unwrap();
        assert_eq!(found, expected);
        self.model.after = found.last().map_or(0, |last| last.id);
        for batch in found {
            if !self.model.held.contains(&batch.id) {
                self.model.held.push(batch.id);
            }
        }
    }

    async fn open(&mut self) {
        let options = Self::options(self.directory.path(), self.crashes);
        let opened = Spool::open(options).await.unwrap();
        assert_eq!(opened.report.moved_aside, None);
        assert_eq!(opened.report.batches, self.model.batches.len() as u64);
        self.spool = opened.spool;
        self.model.restarted();
    }

    async fn crash(&mut self) {
        let (from, to) = (self.crashes, self.crashes + 1);
        for suffix in ["", "-wal"] {
            let name = |number| {
                self.directory
                    .path()
                    .join(format!("spool-{number}.db{suffix}"))
            };
            fs::copy(name(from), name(to)).unwrap();
        }
        self.crashes = to;
        self.open().await;
    }

    async fn check(&self) {
        let model = &self.model;
        let stats = self.spool.stats();
        assert_eq!(stats.batches, model.batches.len() as u64);
        assert_eq!(stats.bytes, model.bytes());
        let events: u64 = model
            .batches
            .iter()
            .map(|batch| u64::from(batch.batch.events))
            .sum();
        assert_eq!(stats.events, events);
        assert_eq!(
            stats.oldest_ns,
            model
                .batches
                .iter()
                .map(|batch| batch.batch.oldest_ns)
                .min()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_deque(operations in operations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::begin().await;
            for operation in &operations {
                run.step(operation).await;
                run.check().await;
            }
            run.crash().await;
            let found = everything(&run.spool).await;
            assert_eq!(found, Vec::from(run.model.batches));
        });
    }
}
