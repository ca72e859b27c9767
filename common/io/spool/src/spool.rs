//! The handle that the rest of the producer holds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::dead_letters::dead_letter_bytes;
use crate::error::{OpenError, SpoolError};
use crate::job::{Ask, Command, Job};
use crate::open::Access;
use crate::store::{Store, counted_bytes};
use crate::thread;
use crate::types::{
    Appended, DeadLetterId, ListedDeadLetter, OpenReport, SpoolBatch, SpoolOptions, SpoolStats,
    SpooledBatch, StoredDeadLetter,
};

/// Operations that may wait for the thread; further callers wait outside of the queue.
const QUEUE_OPERATIONS_MAX: usize = 1_024;

/// Bytes of batches and dead letters that may wait for the thread.
const QUEUE_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// A spool that was just opened.
#[derive(Debug)]
pub struct Opened {
    /// The spool.
    pub spool: Spool,
    /// What was found in it.
    pub report: OpenReport,
}

/// The durable spool. Clones share the file; it is let go when the last one is dropped or any
/// one is closed.
///
/// A future that is dropped before it resolves may or may not have done its work.
#[derive(Debug, Clone)]
pub struct Spool {
    commands: mpsc::Sender<Command>,
    queue_bytes: Arc<Semaphore>,
    stats: watch::Receiver<SpoolStats>,
    bytes_max: u64,
}

impl Spool {
    /// Opens the spool for a producer: creates what is missing, recovers what a crash left, moves
    /// a damaged file aside to `NAME.corrupt-<unix seconds>` and carries over what can be read.
    ///
    /// # Errors
    /// See [`OpenError`]; a file in use is waited for up to 1.5 s.
    pub async fn open(options: SpoolOptions) -> Result<Opened, OpenError> {
        Self::start(options, Access::Producer).await
    }

    /// Opens a spool that exists, to look at its dead letters while no producer runs: creates nothing
    /// and replaces nothing.
    ///
    /// # Errors
    /// See [`OpenError`]: `InUse` while the producer runs, `Missing`, `Damaged`.
    pub async fn open_existing(options: SpoolOptions) -> Result<Opened, OpenError> {
        Self::start(options, Access::Visitor).await
    }

    async fn start(options: SpoolOptions, access: Access) -> Result<Opened, OpenError> {
        let (commands, receiver) = mpsc::channel(QUEUE_OPERATIONS_MAX);
        let (stats_sender, stats) = watch::channel(SpoolStats::default());
        let (opened, answer) = oneshot::channel();
        let path = options.path.clone();
        let bytes_max = options.bytes_max;
        let unusable = |cause: String| OpenError::Unusable {
            path: PathBuf::from(&path),
            cause,
        };
        std::thread::Builder::new()
            .name("spool".into())
            .spawn(move || thread::run(options, access, opened, receiver, stats_sender))
            .map_err(|error| unusable(format!("no thread for it: {error}")))?;
        let report = answer
            .await
            .map_err(|_| unusable("its thread ended".into()))??;
        let queue_bytes = Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize));
        Ok(Opened {
            spool: Self {
                commands,
                queue_bytes,
                stats,
                bytes_max,
            },
            report,
        })
    }

    /// Keeps a batch. Resolves when it is durable; concurrent appends share an fsync. If the
    /// spool is full the oldest batches go and are counted in the answer.
    ///
    /// # Errors
    /// `DiskFull`, `BatchTooLarge`, `Closed`, `Failed`: the batch was not kept.
    pub async fn append(&self, batch: SpoolBatch) -> Result<Appended, SpoolError> {
        let bytes = counted_bytes(batch.payload.len());
        if bytes > self.bytes_max {
            return Err(SpoolError::BatchTooLarge {
                bytes,
                bytes_max: self.bytes_max,
            });
        }
        let payload_bytes = batch.payload.len();
        self.write(payload_bytes, move |store| store.append(&batch))
            .await
    }

    /// The oldest batches with an id above `after` (0 for all): at most `batches_max`, and no more
    /// than fit in `bytes_max` of decompressed payload, but one at least.
    ///
    /// They count as handed out until they are removed or released: when room is needed, other
    /// batches go first, so that a batch just being delivered is not counted as lost.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub async fn oldest(
        &self,
        after: i64,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<SpooledBatch>, SpoolError> {
        self.read(move |store| store.oldest(after, batches_max, bytes_max))
            .await
    }

    /// Removes batches that the route has confirmed. Returns how many were still there.
    ///
    /// # Errors
    /// See [`SpoolError`]; the batches are still there.
    pub async fn remove(&self, ids: Vec<i64>) -> Result<u64, SpoolError> {
        self.write(0, move |store| store.remove(&ids)).await
    }

    /// Gives batches back that were handed out and not delivered.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub async fn release(&self, ids: Vec<i64>) -> Result<(), SpoolError> {
        self.read(move |store| {
            store.release(&ids);
            Ok(())
        })
        .await
    }

    /// Counts that the route refused a batch, durably; returns how often it has. 0 if the batch
    /// is gone.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub async fn count_refusal(&self, id: i64) -> Result<u32, SpoolError> {
        self.write(0, move |store| store.count_refusal(id)).await
    }

    /// Notes that the points of these batches stand in the database by direct write.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub async fn set_written_direct(&self, ids: Vec<i64>) -> Result<(), SpoolError> {
        self.write(0, move |store| store.set_written_direct(&ids))
            .await
    }

    /// Sets a mark, durably: a number under a name, such as the watermark.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub async fn set_mark(&self, name: &str, value: i64) -> Result<(), SpoolError> {
        self.set_marks(vec![(name.to_owned(), value)]).await
    }

    /// Sets marks, durably, all of them or none.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub async fn set_marks(&self, marks: Vec<(String, i64)>) -> Result<(), SpoolError> {
        let set_all = move |store: &mut Store| {
            marks
                .iter()
                .try_for_each(|(name, value)| store.set_mark(name, *value))
        };
        self.write(0, set_all).await
    }

    /// All marks.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub async fn marks(&self) -> Result<BTreeMap<String, i64>, SpoolError> {
        self.read(Store::marks).await
    }

    /// Keeps dead letters, durably; one that is there under the same id is replaced and moves to
    /// the end. Returns how many others were dropped for room, oldest first.
    ///
    /// # Errors
    /// See [`SpoolError`]: none of them was kept.
    pub async fn put_dead_letters(
        &self,
        dead_letters: Vec<StoredDeadLetter>,
    ) -> Result<u64, SpoolError> {
        let bytes = dead_letters.iter().map(dead_letter_bytes).sum::<u64>();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.write(bytes, move |store| store.put_dead_letters(&dead_letters))
            .await
    }

    /// A page of dead letters behind the position `after` (0 for the first page), in the order in
    /// which they were put: at most `dead_letters_max`, and about 8 MiB. An empty page is the end.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub async fn list_dead_letters(
        &self,
        after: i64,
        dead_letters_max: usize,
    ) -> Result<Vec<ListedDeadLetter>, SpoolError> {
        self.read(move |store| store.list_dead_letters(after, dead_letters_max))
            .await
    }

    /// One dead letter.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub async fn get_dead_letter(
        &self,
        id: DeadLetterId,
    ) -> Result<Option<StoredDeadLetter>, SpoolError> {
        self.read(move |store| store.get_dead_letter(&id)).await
    }

    /// Takes dead letters out; returns how many of them there were.
    ///
    /// # Errors
    /// See [`SpoolError`]: all of them are still there.
    pub async fn take_dead_letters(&self, ids: Vec<DeadLetterId>) -> Result<u64, SpoolError> {
        self.write(0, move |store| store.take_dead_letters(&ids))
            .await
    }

    /// What the spool holds, from memory.
    #[must_use]
    pub fn stats(&self) -> SpoolStats {
        *self.stats.borrow()
    }

    /// The statistics as a channel, for waiting until they change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<SpoolStats> {
        self.stats.clone()
    }

    /// Does what is queued, closes the file and unlocks it. Other clones get `Closed` afterwards.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        run: impl FnMut(&mut Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SpoolError> {
        self.ask(bytes, run, Command::Write).await
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SpoolError> {
        self.ask(0, run, Command::Read).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        bytes: usize,
        run: impl FnMut(&mut Store) -> rusqlite::Result<T> + Send + 'static,
        kind: impl FnOnce(Box<dyn Job>) -> Command,
    ) -> Result<T, SpoolError> {
        // One that is larger than the queue goes alone.
        let room = u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .min(QUEUE_BYTES_MAX);
        let room = Arc::clone(&self.queue_bytes).acquire_many_owned(room).await;
        let _room = room.map_err(|_| SpoolError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let job = Ask {
            run,
            outcome: None,
            reply,
            bytes,
            _room,
        };
        self.commands
            .send(kind(Box::new(job)))
            .await
            .map_err(|_| SpoolError::Closed)?;
        answer.await.map_err(|_| SpoolError::Closed)?
    }
}
