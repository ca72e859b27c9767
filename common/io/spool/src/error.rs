//! What can go wrong, one variant for each thing that someone does differently.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why the spool did not open. All but [`OpenError::InUse`] need a human: the message says what
/// to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file.
    #[error(
        "the spool {} is open in another process: a producer is running on it. \
         Stop that producer first, or give this one a SPOOL_PATH of its own", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// There is no file, and the caller asked for one that exists.
    #[error("there is no spool at {}: check SPOOL_PATH (--spool-path)", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Written by a later version of this program.
    #[error(
        "the spool {} has layout {found}, this program knows up to {supported}: \
         run the newer version that wrote it until it has drained, or move the file away", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout version.
        found: i64,
        /// The newest layout this program reads.
        supported: i64,
    },
    /// A SQLite database, but not a spool.
    #[error(
        "{} is the SQLite database of another program: give SPOOL_PATH a file of its own",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// On a network file system, whose locks and fsync cannot be relied on.
    #[error(
        "SPOOL_PATH {} is on a network file system ({kind}): put it on a local or block volume",
        path.display()
    )]
    NetworkFileSystem {
        /// The file.
        path: PathBuf,
        /// The file system's name, as the kernel says it.
        kind: String,
    },
    /// The file cannot be created, read or written there.
    #[error(
        "SPOOL_PATH {} cannot be used: {cause}. It needs a directory that exists on a local or \
         block volume and that this user may write to", path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// No space left to create or recover the file.
    #[error("no space left for the spool {}: free some, or move SPOOL_PATH", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Damaged, and the caller did not ask for it to be replaced.
    #[error(
        "the spool {} is damaged: a producer started on it moves it aside and keeps what it can",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Anything else that SQLite says.
    #[error("cannot open the spool {}: {cause}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        cause: Arc<rusqlite::Error>,
    },
}

impl OpenError {
    pub(crate) fn from_sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse { path },
            Some(ErrorCode::DiskFull) => Self::DiskFull { path },
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::Unusable {
                    path,
                    cause: error.to_string(),
                }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path },
            _ => Self::Failed {
                path,
                cause: Arc::new(error),
            },
        }
    }
}

/// Why an operation on an open spool failed. Nothing of it was kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpoolError {
    /// No space left. Operations work again once there is some; [`crate::SpoolStats::disk_full`]
    /// says so meanwhile.
    #[error("no space left for the spool {}", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Larger than the whole spool may be: it can never be kept, so it must become a dead letter.
    #[error("a batch of {bytes} bytes does not fit a spool of {bytes_max} bytes")]
    BatchTooLarge {
        /// The batch, as counted against the bound.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// The spool was closed.
    #[error("the spool is closed")]
    Closed,
    /// The file was lost while running and cannot be opened again yet; each operation tries.
    #[error("the spool cannot be reopened: {0}")]
    Reopen(#[from] OpenError),
    /// Anything else that SQLite says, a failing disk above all. Worth another try.
    #[error("spool {}: {cause}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        cause: Arc<rusqlite::Error>,
    },
}

impl SpoolError {
    pub(crate) fn from_sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull { path },
            _ => Self::Failed {
                path,
                cause: Arc::new(error),
            },
        }
    }
}

/// Whether the file holds what this program cannot have written: SQLite says so, or a value is of
/// a type or range that the layout does not allow.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, SqliteFailure,
    };
    match error {
        SqliteFailure(failure, _) => {
            matches!(
                failure.code,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
            )
        }
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => true,
        _ => false,
    }
}

/// Whether the disk was full.
pub(crate) fn is_disk_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}
