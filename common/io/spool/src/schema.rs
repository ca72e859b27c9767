//! The file's layout, and how a connection to it is set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::OpenError;

/// `PRAGMA application_id` of a spool: "HASP". It keeps us from writing into someone else's
/// database.
const APPLICATION_ID: i64 = 0x4841_5350;

/// The statements that lead from layout version N (the index) to N + 1. Entries are never
/// changed, only added.
///
/// Payloads stand apart from what is said about them: SQLite rewrites a whole row on update, and
/// `written_direct` and `refusals` change while a payload of 100 KB does not.
const LAYOUTS: [&str; 2] = [
    "
    CREATE TABLE frames (
        id INTEGER PRIMARY KEY,
        oldest_ns INTEGER NOT NULL,
        events INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        written_direct INTEGER NOT NULL,
        refusals INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX frames_by_oldest ON frames (oldest_ns);
    CREATE TABLE payloads (id INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT;
    CREATE TABLE letters (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL UNIQUE,
        failed_at_ns INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        headers TEXT NOT NULL,
        payload BLOB NOT NULL
    ) STRICT;
    CREATE INDEX letters_by_bytes ON letters (bytes);
    CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
",
    // NULL where the payload is kept as it came.
    "
    ALTER TABLE frames ADD COLUMN unpacked_bytes INTEGER;
",
];

/// The newest layout this program reads and the one it writes.
pub(crate) const LAYOUT_VERSION: i64 = LAYOUTS.len() as i64;

/// How long an opener waits for the process before it to let go of the file: the overlap of a
/// restart, not more.
const LOCK_WAIT_MS_MAX: u64 = 1_500;

/// Pages (4 KiB) in the WAL before it is copied into the file.
const CHECKPOINT_PAGES: i64 = 1_000;

/// The WAL is cut back to this after a checkpoint. What stays is also what lets batches be removed
/// when the disk is full.
const WAL_BYTES_KEPT: i64 = 16 * 1024 * 1024;

/// SQLite's page cache.
const CACHE_KIB: i64 = 8 * 1024;

/// Opens the file and locks it for as long as the connection lives; creates or upgrades the
/// layout.
///
/// # Errors
/// `InUse`, `Foreign`, `Newer`, `Damaged` and the rest of [`OpenError`].
pub(crate) fn connect(path: &Path, create: bool) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::from_sqlite(path, error);
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection
        .busy_timeout(Duration::from_millis(LOCK_WAIT_MS_MAX))
        .map_err(failed)?;
    // Before the first access: a WAL database then needs no shared memory file, and the lock
    // taken with the first access is kept until the connection closes.
    set(&connection, "locking_mode", "EXCLUSIVE").map_err(failed)?;
    let is_new = identify(&connection, path)?;
    configure(&connection, is_new).map_err(failed)?;
    migrate(&connection, &LAYOUTS).map_err(failed)?;
    Ok(connection)
}

/// Whether the file is still empty; an error if it is not ours or of a later version.
fn identify(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    let failed = |error| OpenError::from_sqlite(path, error);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let application = get(connection, "application_id").map_err(failed)?;
    let found = get(connection, "user_version").map_err(failed)?;
    if tables == 0 && application == 0 && found == 0 {
        return Ok(true);
    }
    if application != APPLICATION_ID {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
        });
    }
    if found > LAYOUT_VERSION {
        let path = path.to_owned();
        return Err(OpenError::Newer {
            path,
            found,
            supported: LAYOUT_VERSION,
        });
    }
    Ok(false)
}

fn configure(connection: &Connection, is_new: bool) -> rusqlite::Result<()> {
    if is_new {
        // Only possible while the file is empty. Space freed by draining is reused first, and
        // given back to the file system when the spool is empty.
        set(connection, "auto_vacuum", "INCREMENTAL")?;
    }
    set(connection, "journal_mode", "WAL")?;
    // FULL, not NORMAL: in NORMAL a commit is not synced, and a power cut takes acknowledged
    // batches with it (https://www.sqlite.org/pragma.html#pragma_synchronous).
    set(connection, "synchronous", "FULL")?;
    set(connection, "fullfsync", "ON")?;
    set(connection, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    set(connection, "journal_size_limit", WAL_BYTES_KEPT)?;
    set(connection, "cache_size", -CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Brings the layout up to date, all steps in one transaction.
fn migrate(connection: &Connection, layouts: &[&str]) -> rusqlite::Result<()> {
    let found = usize::try_from(get(connection, "user_version")?).unwrap_or(0);
    let newest = layouts.len();
    if found == newest {
        return Ok(());
    }
    let steps = layouts.get(found..).unwrap_or_default().concat();
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {steps}
         PRAGMA application_id = {APPLICATION_ID};
         PRAGMA user_version = {newest};
         COMMIT;"
    ))
}

/// Reads a pragma that is a number.
pub(crate) fn get(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// Sets a pragma, whether or not it answers with a row.
fn set(connection: &Connection, pragma: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
    connection.pragma_update(None, pragma, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_older_layout_is_upgraded_and_an_older_program_refuses_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool.db");
        let connection = Connection::open(&path).unwrap();
        migrate(&connection, &LAYOUTS[..1]).unwrap();
        connection
            .execute_batch("INSERT INTO frames VALUES (7, 1, 100, 5, 0, 0)")
            .unwrap();
        drop(connection);
        let connection = connect(&path, true).unwrap();
        let kept: (i64, Option<i64>) = connection
            .query_row("SELECT id, unpacked_bytes FROM frames", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(kept, (7, None));
        let next = "ALTER TABLE frames ADD COLUMN note TEXT;";
        migrate(&connection, &[LAYOUTS[0], LAYOUTS[1], next]).unwrap();
        drop(connection);

        let refused = connect(&path, true).unwrap_err();
        assert!(
            matches!(
                refused,
                OpenError::Newer {
                    found: 3,
                    supported: 2,
                    ..
                }
            ),
            "{refused}"
        );
    }
}
