//! The batches and marks in the file, one synchronous operation at a time.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::types::{Appended, Dropped, SpoolBatch, SpoolOptions, SpoolStats, SpooledBatch};
use crate::{place, schema};

/// Counted for each batch besides its payload: its rows and index entries. Without it, empty
/// batches would be free.
const BATCH_OVERHEAD_BYTES: u64 = 64;

/// Smaller payloads are kept as they are: most of what they are is not in them twice.
const COMPRESSED_FROM_BYTES: usize = 512;

/// SQLite's default page.
const PAGE_BYTES: i64 = 4_096;

/// Pages that a batch may take besides its payload: tree and index pages that split.
const BATCH_PAGES_SPARE: i64 = 16;

/// Free pages (4 KiB) left in the file when the spool is empty, so that a short outage does not
/// make it grow again.
const FREE_PAGES_KEPT: i64 = 1_024;

/// Free pages given back at a time, so that an append never waits for more.
const VACUUM_PAGES_MAX: i64 = 1_024;

/// What a batch counts against the bound.
pub(crate) fn counted_bytes(payload_bytes: usize) -> u64 {
    payload_bytes as u64 + BATCH_OVERHEAD_BYTES
}

/// A payload as the file has it: compressed, where that makes it smaller. What waits is seldom read and
/// written to wear, on a disk that is often a memory card.
struct Kept<'a> {
    payload: Cow<'a, [u8]>,
    decompressed_bytes: Option<i64>,
}

impl<'a> Kept<'a> {
    fn of(payload: &'a [u8]) -> Self {
        match ha_batch::compressed_from(Some(COMPRESSED_FROM_BYTES), payload) {
            Some(compressed) if compressed.len() < payload.len() => Self {
                payload: Cow::Owned(compressed),
                decompressed_bytes: Some(signed(payload.len() as u64)),
            },
            _ => Self {
                payload: Cow::Borrowed(payload),
                decompressed_bytes: None,
            },
        }
    }

    fn counted_bytes(&self) -> i64 {
        signed(counted_bytes(self.payload.len()))
    }
}

/// Sums over the file, kept in memory and in step with what is committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) batches: i64,
    pub(crate) events: i64,
    pub(crate) bytes: i64,
    pub(crate) dead_letters: i64,
    pub(crate) dead_letters_bytes: i64,
}

/// The open file.
pub(crate) struct Store {
    pub(crate) connection: Connection,
    pub(crate) totals: Totals,
    pub(crate) dead_letters_max: i64,
    pub(crate) dead_letters_bytes_max: i64,
    bytes_max: i64,
    directory: PathBuf,
    disk_free_bytes_min: u64,
    /// The next batch's id. Never set back, so that a late removal cannot hit another batch.
    next_id: i64,
    /// Batches handed out for draining: not dropped for room while others can be, because they
    /// may be delivered any moment and would be counted as lost.
    held: BTreeSet<i64>,
}

impl Store {
    /// Takes over a connection whose layout is up to date.
    pub(crate) fn new(connection: Connection, options: &SpoolOptions) -> Result<Self> {
        let (batches, events, bytes, newest) = connection.query_row(
            "SELECT count(*), ifnull(sum(events), 0), ifnull(sum(bytes), 0), ifnull(max(id), 0)
             FROM frames",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, i64>(3)?)),
        )?;
        let (dead_letters, dead_letters_bytes) = connection.query_row(
            "SELECT count(*), ifnull(sum(bytes), 0) FROM letters",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(Self {
            connection,
            totals: Totals {
                batches,
                events,
                bytes,
                dead_letters,
                dead_letters_bytes,
            },
            dead_letters_max: signed(options.dead_letters_max),
            dead_letters_bytes_max: signed(options.dead_letters_bytes_max),
            bytes_max: signed(options.bytes_max),
            directory: place::directory(&options.path),
            disk_free_bytes_min: options.disk_free_bytes_min,
            next_id: newest + 1,
            held: BTreeSet::new(),
        })
    }

    /// Runs `work` in one durable transaction: all of it is kept, or nothing.
    pub(crate) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let before = self.totals;
        let result = self
            .connection
            .execute_batch("BEGIN IMMEDIATE")
            .and_then(|()| {
                let done = work(self)?;
                self.connection.execute_batch("COMMIT")?;
                Ok(done)
            });
        if result.is_err() {
            self.totals = before;
            // SQLite rolls back by itself on some errors (a full disk is one).
            if !self.connection.is_autocommit() {
                let _ = self.connection.execute_batch("ROLLBACK");
            }
        }
        result
    }

    pub(crate) fn append(&mut self, batch: &SpoolBatch) -> Result<Appended> {
        let kept = Kept::of(&batch.payload);
        let dropped = self.make_room(kept.counted_bytes())?;
        self.check_disk(kept.counted_bytes())?;
        let id = self.next_id;
        self.next_id += 1;
        self.insert_kept(id, batch, &kept, 0)?;
        Ok(Appended { id, dropped })
    }

    /// Writes a batch under an id that it has had: when a damaged file is carried over.
    pub(crate) fn insert(&mut self, id: i64, batch: &SpoolBatch, refusals: u32) -> Result<()> {
        self.insert_kept(id, batch, &Kept::of(&batch.payload), refusals)
    }

    fn insert_kept(
        &mut self,
        id: i64,
        batch: &SpoolBatch,
        kept: &Kept<'_>,
        refusals: u32,
    ) -> Result<()> {
        let bytes = kept.counted_bytes();
        self.connection
            .prepare_cached("INSERT INTO frames VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                id,
                batch.oldest_ns,
                batch.events,
                bytes,
                batch.written_direct,
                refusals,
                kept.decompressed_bytes,
            ])?;
        self.connection
            .prepare_cached("INSERT INTO payloads VALUES (?1, ?2)")?
            .execute(params![id, &kept.payload[..]])?;
        self.totals.batches += 1;
        self.totals.events += i64::from(batch.events);
        self.totals.bytes += bytes;
        self.next_id = self.next_id.max(id + 1);
        Ok(())
    }

    /// Refuses to let the file grow while the volume is nearly full; space freed within the file
    /// may be used.
    fn check_disk(&self, bytes: i64) -> Result<()> {
        let free_bytes = place::free_bytes(&self.directory).unwrap_or(u64::MAX);
        if free_bytes >= self.disk_free_bytes_min {
            return Ok(());
        }
        let pages_needed = bytes / PAGE_BYTES + BATCH_PAGES_SPARE;
        if schema::get(&self.connection, "freelist_count")? >= pages_needed {
            return Ok(());
        }
        Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
            Some(format!("only {free_bytes} bytes are left on the volume")),
        ))
    }

    /// Drops the oldest batches until `bytes` more fit.
    fn make_room(&mut self, bytes: i64) -> Result<Dropped> {
        let mut dropped = Dropped::default();
        while self.totals.batches > 0 && self.totals.bytes + bytes > self.bytes_max {
            let Some(id) = self.first_to_go()? else { break };
            if let Some((events, written_direct)) = self.remove_one(id)? {
                dropped.batches += 1;
                dropped.events += events;
                dropped.events_written_direct += if written_direct { events } else { 0 };
            }
        }
        Ok(dropped)
    }

    /// The oldest batch behind those handed out for draining (which are the oldest of all); the
    /// very oldest when every batch is handed out.
    fn first_to_go(&self) -> Result<Option<i64>> {
        let mut query = self
            .connection
            .prepare_cached("SELECT min(id) FROM frames WHERE id > ?1")?;
        let mut after = |id: i64| query.query_row([id], |row| row.get::<_, Option<i64>>(0));
        match self.held.last() {
            Some(&held) => after(held)?.map_or_else(|| after(i64::MIN), |id| Ok(Some(id))),
            None => after(i64::MIN),
        }
    }

    fn remove_one(&mut self, id: i64) -> Result<Option<(u64, bool)>> {
        self.held.remove(&id);
        let removed = self
            .connection
            .prepare_cached(
                "DELETE FROM frames WHERE id = ?1 RETURNING events, bytes, written_direct",
            )?
            .query_row([id], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, bool>(2)?,
                ))
            })
            .optional()?;
        let Some((events, bytes, written_direct)) = removed else {
            return Ok(None);
        };
        self.connection
            .prepare_cached("DELETE FROM payloads WHERE id = ?1")?
            .execute([id])?;
        self.totals.batches -= 1;
        self.totals.events -= events;
        self.totals.bytes -= bytes;
        Ok(Some((unsigned(events), written_direct)))
    }

    /// Removes batches; those that are gone already are skipped. Returns how many there were.
    pub(crate) fn remove(&mut self, ids: &[i64]) -> Result<u64> {
        let mut removed = 0;
        for &id in ids {
            removed += u64::from(self.remove_one(id)?.is_some());
        }
        Ok(removed)
    }

    /// The oldest batches with an id above `after`: at most `batches_max` of them, and no more than
    /// fit in `bytes_max` of decompressed payload, but one at least. They are held from then on.
    pub(crate) fn oldest(
        &mut self,
        after: i64,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<SpooledBatch>> {
        // LEFT: a batch whose payload is gone is damage to be met, not a batch to skip.
        let mut query = self.connection.prepare_cached(
            "SELECT frames.id, events, oldest_ns, written_direct, refusals, unpacked_bytes, payload,
                    ifnull(unpacked_bytes, bytes - ?2)
             FROM frames LEFT JOIN payloads USING (id) WHERE frames.id > ?1 ORDER BY frames.id",
        )?;
        let mut rows = query.query([after, signed(BATCH_OVERHEAD_BYTES)])?;
        let mut batches = Vec::new();
        let mut bytes_left = signed(bytes_max as u64);
        while batches.len() < batches_max
            && let Some(row) = rows.next()?
        {
            // The size is looked at before the payload is: SQLite reads it only when asked.
            bytes_left -= row.get::<_, i64>(7)?;
            if bytes_left < 0 && !batches.is_empty() {
                break;
            }
            batches.push(read_batch(row)?);
        }
        self.held.extend(batches.iter().map(|batch| batch.id));
        Ok(batches)
    }

    /// Gives batches back that were handed out and not delivered.
    pub(crate) fn release(&mut self, ids: &[i64]) {
        for id in ids {
            self.held.remove(id);
        }
    }

    /// Counts a refusal of a batch and returns how many there were; 0 if it is gone.
    pub(crate) fn count_refusal(&mut self, id: i64) -> Result<u32> {
        let refusals = self
            .connection
            .prepare_cached(
                "UPDATE frames SET refusals = refusals + 1 WHERE id = ?1 RETURNING refusals",
            )?
            .query_row([id], |row| row.get(0))
            .optional()?;
        Ok(refusals.unwrap_or(0))
    }

    pub(crate) fn set_written_direct(&mut self, ids: &[i64]) -> Result<()> {
        let mut update = self
            .connection
            .prepare_cached("UPDATE frames SET written_direct = 1 WHERE id = ?1")?;
        for id in ids {
            update.execute([id])?;
        }
        Ok(())
    }

    pub(crate) fn set_mark(&mut self, name: &str, value: i64) -> Result<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO marks VALUES (?1, ?2)")?
            .execute(params![name, value])?;
        Ok(())
    }

    pub(crate) fn marks(&mut self) -> Result<BTreeMap<String, i64>> {
        let mut query = self
            .connection
            .prepare_cached("SELECT name, value FROM marks")?;
        query
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    /// Fills in what the file says.
    pub(crate) fn stats(&self, previous: SpoolStats) -> SpoolStats {
        let oldest_ns = self
            .connection
            .prepare_cached("SELECT min(oldest_ns) FROM frames")
            .and_then(|mut query| query.query_row([], |row| row.get(0)));
        SpoolStats {
            batches: unsigned(self.totals.batches),
            events: unsigned(self.totals.events),
            bytes: unsigned(self.totals.bytes),
            oldest_ns: oldest_ns.unwrap_or(previous.oldest_ns),
            dead_letters: unsigned(self.totals.dead_letters),
            dead_letters_bytes: unsigned(self.totals.dead_letters_bytes),
            ..previous
        }
    }

    /// Gives a bounded part of the free space back to the file system if the spool is empty.
    /// Returns whether there is more to give.
    pub(crate) fn vacuum_step(&mut self) -> Result<bool> {
        if self.totals.batches > 0 {
            return Ok(false);
        }
        let surplus = schema::get(&self.connection, "freelist_count")? - FREE_PAGES_KEPT;
        if surplus <= 0 {
            return Ok(false);
        }
        // The pragma frees a page a step: it has to be run to its end.
        let pages = surplus.min(VACUUM_PAGES_MAX);
        let mut statement = self
            .connection
            .prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        drop(statement);
        let more = surplus > pages;
        if !more {
            // The file is cut when the WAL is copied into it.
            self.checkpoint();
        }
        Ok(more)
    }

    /// Copies the WAL into the file so that the next write starts over at the WAL's beginning:
    /// on a full disk that room is there already.
    pub(crate) fn checkpoint(&mut self) {
        let result = self
            .connection
            .query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
        if let Err(error) = result {
            tracing::debug!(%error, "checkpoint of the spool failed");
        }
    }

    /// What a store that takes this one's place must go on from.
    pub(crate) fn hand_over(self) -> (i64, BTreeSet<i64>, Totals) {
        (self.next_id, self.held, self.totals)
    }

    /// Goes on from a store that this one takes the place of.
    pub(crate) fn take_over(&mut self, next_id: i64, held: BTreeSet<i64>) {
        self.next_id = self.next_id.max(next_id);
        self.held = held;
    }
}

/// A row of id, events, oldest_ns, written_direct, refusals, unpacked_bytes, payload.
pub(crate) fn read_batch(row: &Row<'_>) -> Result<SpooledBatch> {
    let kept: Vec<u8> = row.get(6)?;
    let is_compressed = row.get::<_, Option<i64>>(5)?.is_some();
    let decompressed = is_compressed.then(|| ha_batch::decompress(&kept));
    // What cannot be decompressed goes on as it is: it becomes a dead letter, and holds nothing up.
    let payload = decompressed
        .and_then(std::result::Result::ok)
        .unwrap_or(kept);
    Ok(SpooledBatch {
        id: row.get(0)?,
        refusals: row.get(4)?,
        batch: SpoolBatch {
            payload: Bytes::from(payload),
            events: row.get(1)?,
            oldest_ns: row.get(2)?,
            written_direct: row.get(3)?,
        },
    })
}

/// SQLite's integers are signed.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
