//! The values that go in and out of the spool.

use std::path::PathBuf;

use bytes::Bytes;

/// Where the spool is and how much it may hold.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// The SQLite file (`SPOOL_PATH`): on a local or block volume, never NFS.
    pub path: PathBuf,
    /// Most bytes of batches kept (`SPOOL_BYTES_MAX`): payloads, compressed as they are in the file, plus
    /// 64 bytes each. The file is a few percent larger, and holds the dead letters besides.
    pub bytes_max: u64,
    /// Most dead letters kept; the oldest go first.
    pub dead_letters_max: u64,
    /// Most bytes of dead letters kept (headers and payloads); the oldest go first, the newest stays
    /// whatever its size.
    pub dead_letters_bytes_max: u64,
    /// Batches are refused as `DiskFull` once the file would have to grow with less than this free
    /// on its volume. It keeps the room that removing batches takes (up to 16 MiB of WAL): without
    /// it, a spool that had filled its own disk could not be drained. And Home Assistant often
    /// lives on the same disk.
    pub disk_free_bytes_min: u64,
}

impl SpoolOptions {
    /// A spool with the usual bounds: 100,000 dead letters in 256 MiB, 32 MiB left free.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, bytes_max: u64) -> Self {
        Self {
            path: path.into(),
            bytes_max,
            dead_letters_max: 100_000,
            dead_letters_bytes_max: 256 * 1024 * 1024,
            disk_free_bytes_min: 32 * 1024 * 1024,
        }
    }
}

/// A batch to be kept until the route takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolBatch {
    /// The encoded batch, untouched.
    pub payload: Bytes,
    /// How many events it carries.
    pub events: u32,
    /// Source time of its oldest event, nanoseconds since the Unix epoch.
    pub oldest_ns: i64,
    /// Whether its points already stand in the database by direct write.
    pub written_direct: bool,
}

/// A batch read back from the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledBatch {
    /// Its place in the order of arrival; never given twice while a process runs.
    pub id: i64,
    /// The batch.
    pub batch: SpoolBatch,
    /// How often the route refused it (see [`crate::Spool::count_refusal`]).
    pub refusals: u32,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The new batch's id.
    pub id: i64,
    /// What had to go to make room for it.
    pub dropped: Dropped,
}

/// Batches that were dropped for room: lost for good, unless written directly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Batches dropped.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Of those events, the ones whose points already stand in the database by direct write:
    /// they lose their enrichment, not their value.
    pub events_written_direct: u64,
}

/// The spool at this moment. Read from memory; it costs no disk access.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolStats {
    /// Batches waiting.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of them, as counted against `bytes_max`.
    pub bytes: u64,
    /// Source time of the oldest event waiting, nanoseconds since the Unix epoch.
    pub oldest_ns: Option<i64>,
    /// Dead letters kept.
    pub dead_letters: u64,
    /// Bytes of them, as counted against `dead_letters_bytes_max`.
    pub dead_letters_bytes: u64,
    /// Whether the last write failed because the disk was full. Cleared by the next that succeeds.
    pub disk_full: bool,
    /// Damaged files moved aside since this spool was opened, at opening included.
    pub moved_aside: u64,
    /// Events known to be lost with a file found damaged while running.
    pub damaged_events_lost: u64,
}

/// What was found when the spool was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Batches waiting from an earlier run.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Set when the file was damaged and a new one begun.
    pub moved_aside: Option<MovedAside>,
}

/// A damaged file and what could be carried over from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedAside {
    /// Where the damaged file is now.
    pub path: PathBuf,
    /// Batches carried over into the new file.
    pub batches_rescued: u64,
    /// Dead letters carried over into the new file.
    pub dead_letters_rescued: u64,
}

/// A dead letter's id: the 16 bytes of its UUID.
pub type DeadLetterId = [u8; 16];

/// A dead letter of a producer without a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Its id. A dead letter put again under the same id replaces the older one.
    pub id: DeadLetterId,
    /// The `x-ha-*` headers, in order.
    pub headers: Vec<(String, String)>,
    /// The batch of one envelope, or the undecodable bytes.
    pub payload: Bytes,
    /// When it failed last, nanoseconds since the Unix epoch.
    pub failed_at_ns: i64,
}

/// A dead letter with its place in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDeadLetter {
    /// Its place in the order of arrival: the cursor for the next page.
    pub position: i64,
    /// The dead letter.
    pub dead_letter: StoredDeadLetter,
}
