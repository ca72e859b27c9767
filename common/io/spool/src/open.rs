//! Opening the file, and beginning a new one where the old one is damaged.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::OpenError;
use crate::store::{Store, unsigned};
use crate::types::{MovedAside, OpenReport, SpoolOptions};
use crate::{place, rescue, schema};

/// Who opens the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The producer: creates what is missing and replaces what is damaged.
    Producer,
    /// Someone who looks at what is there: neither creates nor replaces.
    Visitor,
}

/// Opens the spool.
///
/// # Errors
/// See [`OpenError`].
pub(crate) fn open(
    options: &SpoolOptions,
    access: Access,
) -> Result<(Store, OpenReport), OpenError> {
    let path = &options.path;
    place::check(path)?;
    if access == Access::Visitor && !path.exists() {
        return Err(OpenError::Missing { path: path.clone() });
    }
    match begin(options, access == Access::Producer) {
        Ok(store) => Ok(reported(store, None)),
        Err(OpenError::Damaged { .. }) if access == Access::Producer => begin_anew(options),
        Err(error) => Err(error),
    }
}

/// Moves the file aside, begins a new one and carries over what can be read. Nothing may have the
/// old file open.
///
/// # Errors
/// See [`OpenError`]; the damaged file is kept in any case.
pub(crate) fn begin_anew(options: &SpoolOptions) -> Result<(Store, OpenReport), OpenError> {
    let path = &options.path;
    let aside = move_aside(path).map_err(|error| OpenError::Unusable {
        path: path.clone(),
        cause: format!("the file is damaged and cannot be moved aside: {error}"),
    })?;
    let mut store = begin(options, true)?;
    let rescued = rescue::rescue(&aside, &mut store);
    tracing::error!(
        spool = %path.display(), moved_to = %aside.display(),
        batches_rescued = rescued.batches, dead_letters_rescued = rescued.dead_letters,
        "the spool was damaged: it was moved aside and a new one begun"
    );
    let moved = MovedAside {
        path: aside,
        batches_rescued: rescued.batches,
        dead_letters_rescued: rescued.dead_letters,
    };
    Ok(reported(store, Some(moved)))
}

fn begin(options: &SpoolOptions, create: bool) -> Result<Store, OpenError> {
    let path = &options.path;
    let connection = schema::connect(path, create)?;
    // SQLite syncs the directory for its WAL, not for the database file itself.
    if let Err(error) = File::open(place::directory(path)).and_then(|file| file.sync_all()) {
        tracing::debug!(%error, "the spool's directory cannot be synced");
    }
    Store::new(connection, options).map_err(|error| OpenError::from_sqlite(path, error))
}

fn reported(store: Store, moved_aside: Option<MovedAside>) -> (Store, OpenReport) {
    let batches = unsigned(store.totals.batches);
    let events = unsigned(store.totals.events);
    (
        store,
        OpenReport {
            batches,
            events,
            moved_aside,
        },
    )
}

/// Renames the file and what belongs to it to `NAME.corrupt-<unix seconds>`.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_secs());
    let mut aside = suffixed(path, &format!(".corrupt-{now_s}"));
    for again in 1..100 {
        if !aside.exists() {
            break;
        }
        aside = suffixed(path, &format!(".corrupt-{now_s}.{again}"));
    }
    fs::rename(path, &aside)?;
    // The WAL holds the newest batches: it goes along, under the name SQLite looks for.
    for part in ["-wal", "-shm", "-journal"] {
        match fs::rename(suffixed(path, part), suffixed(&aside, part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
