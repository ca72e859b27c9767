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
        frames: u32,
        bytes: usize,
        written_direct: bool,
    },
    Drain {
        frames: usize,
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
            |(frames, bytes, written_direct)| Operation::Append { frames, bytes, written_direct }
        ),
        3 => (1..8_usize, 1..30_000_usize)
            .prop_map(|(frames, bytes)| Operation::Drain { frames, bytes }),
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
    frames: VecDeque<SpooledFrame>,
    held: Vec<i64>,
    /// The drain's cursor.
    after: i64,
    number: u32,
}

fn counted(frame: &SpooledFrame) -> u64 {
    frame.frame.payload.len() as u64 + 64
}

impl Model {
    fn bytes(&self) -> u64 {
        self.frames.iter().map(counted).sum()
    }

    fn make_room(&mut self, bytes: u64) -> Dropped {
        let mut dropped = Dropped::default();
        while !self.frames.is_empty() && self.bytes() + bytes > BYTES_MAX {
            let newest_held = self.held.iter().max().copied().unwrap_or(0);
            let first = self
                .frames
                .iter()
                .position(|frame| frame.id > newest_held)
                .unwrap_or(0);
            let Some(gone) = self.frames.remove(first) else {
                break;
            };
            self.held.retain(|id| *id != gone.id);
            dropped.frames += 1;
            dropped.events += u64::from(gone.frame.events);
            if gone.frame.written_direct {
                dropped.events_written_direct += u64::from(gone.frame.events);
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
                frames,
                bytes,
                written_direct,
            } => {
                self.append(frames, bytes, written_direct).await;
            }
            Operation::Drain { frames, bytes } => self.drain(frames, bytes).await,
            Operation::Remove { luck } => {
                let (gone, kept): (Vec<i64>, Vec<i64>) = self
                    .model
                    .held
                    .iter()
                    .partition(|id| (**id * 37) as u8 >= luck);
                let before = self.model.frames.len();
                self.model.frames.retain(|frame| !gone.contains(&frame.id));
                let removed = (before - self.model.frames.len()) as u64;
                self.model.held = kept;
                assert_eq!(self.spool.remove(gone).await, Ok(removed));
            }
            Operation::Release => {
                let ids = std::mem::take(&mut self.model.held);
                self.spool.release(ids).await.unwrap();
                self.model.after = 0;
            }
            Operation::Refuse { nth } => {
                if let Some(frame) = self.model.frames.get_mut(nth) {
                    frame.refusals += 1;
                    assert_eq!(self.spool.count_refusal(frame.id).await, Ok(frame.refusals));
                }
            }
            Operation::WrittenDirect { nth } => {
                if let Some(frame) = self.model.frames.get_mut(nth) {
                    frame.frame.written_direct = true;
                    self.spool.set_written_direct(vec![frame.id]).await.unwrap();
                }
            }
            Operation::Reopen => {
                self.spool.clone().close().await;
                self.open().await;
            }
            Operation::Crash => self.crash().await,
        }
    }

    async fn append(&mut self, frames: u32, bytes: usize, written_direct: bool) {
        for _ in 0..frames {
            self.model.number += 1;
            let frame = SpoolFrame {
                written_direct,
                ..frame(self.model.number, bytes)
            };
            let dropped = self.model.make_room(bytes as u64 + 64);
            let appended = self.spool.append(frame.clone()).await.unwrap();
            assert_eq!(appended.dropped, dropped);
            let newest = self.model.frames.back().map_or(0, |frame| frame.id);
            assert!(appended.id > newest);
            self.model.frames.push_back(SpooledFrame {
                id: appended.id,
                frame,
                refusals: 0,
            });
        }
    }

    async fn drain(&mut self, frames_max: usize, bytes_max: usize) {
        let mut expected: Vec<SpooledFrame> = Vec::new();
        let mut bytes = 0;
        for frame in self
            .model
            .frames
            .iter()
            .filter(|frame| frame.id > self.model.after)
        {
            bytes += frame.frame.payload.len();
            if expected.len() == frames_max || (bytes > bytes_max && !expected.is_empty()) {
                break;
            }
            expected.push(frame.clone());
        }
        let found = self
            .spool
            .oldest(self.model.after, frames_max, bytes_max)
            .await
            .unwrap();
        assert_eq!(found, expected);
        self.model.after = found.last().map_or(0, |last| last.id);
        for frame in found {
            if !self.model.held.contains(&frame.id) {
                self.model.held.push(frame.id);
            }
        }
    }

    async fn open(&mut self) {
        let options = Self::options(self.directory.path(), self.crashes);
        let opened = Spool::open(options).await.unwrap();
        assert_eq!(opened.report.moved_aside, None);
        assert_eq!(opened.report.frames, self.model.frames.len() as u64);
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
        assert_eq!(stats.frames, model.frames.len() as u64);
        assert_eq!(stats.bytes, model.bytes());
        let events: u64 = model
            .frames
            .iter()
            .map(|frame| u64::from(frame.frame.events))
            .sum();
        assert_eq!(stats.events, events);
        assert_eq!(
            stats.oldest_ns,
            model.frames.iter().map(|frame| frame.frame.oldest_ns).min()
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
            assert_eq!(found, Vec::from(run.model.frames));
        });
    }
}
