//! Carrying over what can still be read from a damaged file.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Result};

use crate::dead_letters::read_dead_letter;
use crate::schema::{self, LAYOUT_VERSION};
use crate::store::{Store, read_batch};

/// Rows carried over in one transaction: with payloads of at most 1 MiB, the memory and the WAL
/// it takes.
const ROWS_A_TRANSACTION: usize = 16;

/// What was carried over.
#[derive(Debug, Default)]
pub(crate) struct Rescued {
    pub(crate) batches: u64,
    pub(crate) dead_letters: u64,
}

/// Copies every batch, dead letter and mark that can be read. Never fails: what cannot be read or
/// written stays in the damaged file.
pub(crate) fn rescue(from: &Path, into: &mut Store) -> Rescued {
    let damaged = match look_into(from) {
        Ok(damaged) => damaged,
        Err(error) => {
            tracing::warn!(%error, "nothing of the damaged spool can be read");
            return Rescued::default();
        }
    };
    if schema::get(&damaged, "user_version") != Ok(LAYOUT_VERSION) {
        return Rescued::default();
    }
    if let Err(error) = marks(&damaged, into) {
        tracing::warn!(%error, "the marks of the damaged spool are lost");
    }
    Rescued {
        batches: copy(&damaged, "frames", "id", into, batch),
        dead_letters: copy(&damaged, "letters", "position", into, dead_letter),
    }
}

/// Opens a damaged file to read it, leaving it and its WAL as they are.
fn look_into(path: &Path) -> Result<Connection> {
    // Without write access SQLite does not look into the WAL, where the newest batches are.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let damaged = Connection::open_with_flags(path, flags)?;
    damaged.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    damaged.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // The only way to read a file that is shorter than it says. Nothing is written through it.
    damaged.pragma_update(None, "writable_schema", "ON")?;
    Ok(damaged)
}

fn marks(damaged: &Connection, into: &mut Store) -> Result<()> {
    let mut query = damaged.prepare("SELECT name, value FROM marks")?;
    let mut rows = query.query([])?;
    into.transaction(|into| {
        while let Some(row) = rows.next()? {
            into.set_mark(&row.get::<_, String>(0)?, row.get(1)?)?;
        }
        Ok(())
    })
}

/// Copies the row of one key, if it is whole.
type CopyRow = fn(&Connection, i64, &mut Store) -> Result<bool>;

fn batch(damaged: &Connection, id: i64, into: &mut Store) -> Result<bool> {
    let found = damaged
        .prepare_cached(
            "SELECT frames.id, events, oldest_ns, written_direct, refusals, unpacked_bytes, payload
             FROM frames JOIN payloads USING (id) WHERE frames.id = ?1",
        )?
        .query_row([id], read_batch)
        .optional()?;
    let Some(spooled) = found else {
        return Ok(false);
    };
    into.insert(id, &spooled.batch, spooled.refusals)?;
    Ok(true)
}

fn dead_letter(damaged: &Connection, position: i64, into: &mut Store) -> Result<bool> {
    let found = damaged
        .prepare_cached(
            "SELECT position, id, failed_at_ns, bytes, headers, payload FROM letters
             WHERE position = ?1",
        )?
        .query_row([position], read_dead_letter)
        .optional()?;
    let Some(listed) = found else {
        return Ok(false);
    };
    into.insert_dead_letter(Some(position), &listed.dead_letter)?;
    Ok(true)
}

/// Walks a table from its first key upwards and, where the tree breaks, from its last downwards.
fn copy(damaged: &Connection, table: &str, key: &str, into: &mut Store, row: CopyRow) -> u64 {
    let up = format!("SELECT min({key}) FROM {table} WHERE {key} > ?1");
    let down = format!("SELECT max({key}) FROM {table} WHERE {key} < ?1");
    let (mut low, mut high, mut copied) = (i64::MIN, i64::MAX, 0);
    let mut next = |upwards: bool| -> Option<i64> {
        let (query, from) = if upwards { (&up, low) } else { (&down, high) };
        let found: Option<i64> = damaged
            .prepare_cached(query)
            .ok()?
            .query_row([from], |row| row.get(0))
            .ok()?;
        // A broken tree may lead in circles: a key outside of what is left ends the walk.
        let found = found.filter(|&found| low < found && found < high)?;
        *(if upwards { &mut low } else { &mut high }) = found;
        Some(found)
    };
    for upwards in [true, false] {
        loop {
            let keys: Vec<i64> = std::iter::from_fn(|| next(upwards))
                .take(ROWS_A_TRANSACTION)
                .collect();
            if keys.is_empty() {
                break;
            }
            copied += copy_rows(damaged, &keys, into, row);
        }
    }
    copied
}

fn copy_rows(damaged: &Connection, keys: &[i64], into: &mut Store, row: CopyRow) -> u64 {
    let together = into.transaction(|into| {
        let mut copied = 0;
        for &key in keys {
            copied += u64::from(row(damaged, key, into)?);
        }
        Ok(copied)
    });
    // One of them is damaged: the others are copied alone.
    together.unwrap_or_else(|_| {
        let alone = |&key: &i64| {
            into.transaction(|into| row(damaged, key, into))
                .unwrap_or(false)
        };
        keys.iter().map(alone).map(u64::from).sum()
    })
}
