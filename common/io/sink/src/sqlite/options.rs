//! Settings, and why a file cannot be used.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of [`crate::Sqlite`].
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file; created if it is not there. Two more stand beside it (`-wal`, `-shm`).
    pub path: PathBuf,
    /// How long points are kept, by their own time; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// How long to wait for another process that is writing.
    pub busy_timeout: Duration,
}

impl SqliteOptions {
    /// Options for a file, with the documented defaults: 30 days, 5 s.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention: Some(Duration::from_secs(30 * 24 * 3600)),
            busy_timeout: Duration::from_secs(5),
        }
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// Written by a newer version.
    #[error(
        "SQLITE_PATH {path}: layout {found} was written by a newer version (this one knows up to \
         {known}); upgrade, or choose another file"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its layout.
        found: i32,
        /// The newest layout known here.
        known: i32,
    },
    /// Some other program's database.
    #[error("SQLITE_PATH {path} is a database of another program; choose another file")]
    Foreign {
        /// The file.
        path: String,
    },
    /// Damaged, or no database at all.
    #[error(
        "SQLITE_PATH {path} is damaged or not a database ({reason}); move it aside or choose another file"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// SQLite's words.
        reason: String,
    },
    /// Cannot be opened or written.
    #[error("SQLITE_PATH {path} cannot be written ({reason}); check folder, owner and mount")]
    Unwritable {
        /// The file.
        path: String,
        /// SQLite's words.
        reason: String,
    },
    /// Another process is writing, the disk is full or failing.
    #[error(
        "SQLITE_PATH {path}: {reason}; free the disk, or stop the other process that uses the file"
    )]
    Unavailable {
        /// The file.
        path: String,
        /// SQLite's words.
        reason: String,
    },
}
