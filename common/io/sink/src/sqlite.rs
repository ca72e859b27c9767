//! The embedded database: a file with one table of points, and a view for each measurement.
//!
//! A batch is one transaction. Writes run on the runtime's blocking threads, one at a time, since
//! SQLite has one writer.

mod failure;
mod options;
mod retention;
mod schema;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_point::Row;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, ffi};

use crate::{ProbeError, ProbeReport, RejectedPoint, WriteOutcome};
use failure::{Failure, path};
pub use options::{SqliteError, SqliteOptions};
pub use retention::{RetentionPass, RetentionSurvey};
use schema::Views;

/// Merging is a JSON merge patch: a null would delete a field, and none is ever written. A point
/// that is written again as it is changes nothing.
const UPSERT: &str = "INSERT INTO points (measurement, tags, fields, time_ns) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (measurement, tags, time_ns) DO UPDATE \
     SET fields = json_patch(points.fields, excluded.fields) \
     WHERE points.fields <> excluded.fields";

/// The embedded database.
#[derive(Debug, Clone)]
pub struct Sqlite {
    store: Arc<Mutex<Store>>,
    options: Arc<SqliteOptions>,
}

#[derive(Debug)]
struct Store {
    connection: Connection,
    views: Views,
    retention: retention::Schedule,
}

impl Sqlite {
    /// Opens or creates the file, and brings an older layout up to date.
    ///
    /// # Errors
    /// Why not, with the remedy.
    pub async fn open(options: SqliteOptions) -> Result<Self, SqliteError> {
        let options = Arc::new(options);
        let for_thread = Arc::clone(&options);
        let opened = tokio::task::spawn_blocking(move || {
            Store::open(&for_thread).map_err(|error| error.into_public(&for_thread))
        });
        let store = opened.await.unwrap_or_else(|error| {
            Err(SqliteError::Unavailable {
                path: path(&options),
                reason: error.to_string(),
            })
        })?;
        Ok(Self {
            store: Arc::new(Mutex::new(store)),
            options,
        })
    }

    /// The settings in use.
    #[must_use]
    pub fn options(&self) -> &SqliteOptions {
        &self.options
    }

    /// One attempt to store all rows, in one transaction.
    pub async fn write(&self, rows: &[Row]) -> WriteOutcome {
        if rows.is_empty() {
            return WriteOutcome::Written;
        }
        let rows = rows.to_vec();
        match self.on_thread(move |store| store.write(&rows)).await {
            Ok(rejected) if rejected.is_empty() => WriteOutcome::Written,
            Ok(rejected) => WriteOutcome::Rejected(rejected),
            Err(error @ SqliteError::Unavailable { .. }) => WriteOutcome::Unavailable {
                reason: error.to_string(),
                retry_after: None,
            },
            Err(error) => WriteOutcome::Refused {
                reason: error.to_string(),
            },
        }
    }

    /// Tries to begin a write, and ends it without one.
    ///
    /// # Errors
    /// What is wrong and its remedy.
    pub async fn probe(&self) -> Result<ProbeReport, ProbeError> {
        let began = self.on_thread(|store| {
            store
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?
                .rollback()?;
            Ok(())
        });
        began.await.map_err(|error| ProbeError {
            transient: matches!(error, SqliteError::Unavailable { .. }),
            reason: error.to_string(),
            remedy: "check SQLITE_PATH".to_owned(),
        })?;
        Ok(ProbeReport {
            target: format!("SQLite file {}", path(&self.options)),
            version: Some(rusqlite::version().to_owned()),
            steps: vec!["a write transaction was begun and rolled back".to_owned()],
        })
    }

    /// What the retention means for what is stored, at `now_ns` (nanoseconds since the epoch);
    /// `None` where points are kept for ever. Counts all points; writes get their turn in between.
    ///
    /// # Errors
    /// The file could not be read.
    pub async fn survey_retention(
        &self,
        now_ns: i64,
    ) -> Result<Option<RetentionSurvey>, SqliteError> {
        let Some(kept) = self.options.retention else {
            return Ok(None);
        };
        let newest_ns = self.newest_ns().await?;
        let cutoff_ns = retention::cutoff_ns(now_ns, newest_ns, kept);
        let older = match cutoff_ns {
            Some(cutoff_ns) => self.count_before(cutoff_ns).await?,
            None => 0,
        };
        let points = self.count_before(i64::MAX).await?;
        Ok(Some(RetentionSurvey {
            kept,
            newest_ns,
            cutoff_ns,
            points,
            older,
            pass_points_max: retention::pass_points_max(points),
            every: Duration::from_nanos(retention::every_ns(kept).unsigned_abs()),
        }))
    }

    /// Deletes points that are too old at `now_ns` (nanoseconds since the epoch): before the time
    /// that lies the retention before the newest point of Home Assistant's, or before now where
    /// that is earlier. A call is a pass at most every ten minutes of `now_ns` (more often where
    /// the retention is shorter than seven hours), and a pass deletes no more than 10,000 points or
    /// 5 % of all, whichever is more, the oldest first. Writes get their turn in between. `None` if
    /// nothing was deleted.
    ///
    /// # Errors
    /// The file could not be read or changed, and nothing was deleted; the next call tries again,
    /// as it does after a pass that an error has cut short.
    pub async fn enforce_retention(
        &self,
        now_ns: i64,
    ) -> Result<Option<RetentionPass>, SqliteError> {
        let Some(kept) = self.options.retention else {
            return Ok(None);
        };
        let every_ns = retention::every_ns(kept);
        let begun = self.on_thread(move |store| Ok(store.retention.begin(now_ns, every_ns)));
        if !begun.await? {
            return Ok(None);
        }
        let (pass, error) = match self.retention_pass(now_ns, kept).await {
            Ok(pass) => pass,
            Err(error) => (None, Some(error)),
        };
        if error.is_some() {
            self.on_thread(|store| {
                store.retention.failed();
                Ok(())
            })
            .await?;
        }
        match (pass, error) {
            // What is gone must be said; the error comes again if it lasts.
            (Some(pass), _) => Ok(Some(pass)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// One pass, and the error that ended it early.
    async fn retention_pass(
        &self,
        now_ns: i64,
        kept: Duration,
    ) -> Result<(Option<RetentionPass>, Option<SqliteError>), SqliteError> {
        let newest_ns = self.newest_ns().await?;
        let Some(cutoff_ns) = retention::cutoff_ns(now_ns, newest_ns, kept) else {
            return Ok((None, None));
        };
        let older = self.count_before(cutoff_ns).await?;
        // Few may go whatever there is: then not everything has to be counted.
        let points = if older > retention::PASS_POINTS {
            self.count_before(i64::MAX).await?
        } else {
            older
        };
        let wanted = older.min(retention::pass_points_max(points));
        let (mut deleted, mut error) = (0, None);
        while deleted < wanted {
            let rows_max = (wanted - deleted).min(retention::CHUNK_ROWS);
            let chunk = self.on_thread(move |store| {
                retention::delete_chunk(&store.connection, cutoff_ns, rows_max)
            });
            match chunk.await {
                // Another process was faster.
                Ok(0) => break,
                Ok(rows) => deleted += rows,
                Err(failed) => {
                    error = Some(failed);
                    break;
                }
            }
        }
        let pass = (deleted > 0).then(|| RetentionPass {
            deleted,
            cutoff_ns,
            older_left: older.saturating_sub(deleted),
        });
        Ok((pass, error))
    }

    async fn newest_ns(&self) -> Result<Option<i64>, SqliteError> {
        self.on_thread(|store| retention::newest_ns(&store.connection))
            .await
    }

    /// The number of points before this time.
    async fn count_before(&self, before_ns: i64) -> Result<u64, SqliteError> {
        let (mut points, mut place) = (0, Some(retention::BEGINNING));
        while let Some(from) = place {
            let counted = self
                .on_thread(move |store| retention::count_chunk(&store.connection, from, before_ns));
            let (rows, next) = counted.await?;
            points += rows;
            place = next;
        }
        Ok(points)
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, SqliteError> {
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || work(&mut lock(&store))).await {
            Ok(result) => result.map_err(|error| error.into_public(&self.options)),
            // The runtime is going down.
            Err(error) => Err(SqliteError::Unavailable {
                path: path(&self.options),
                reason: error.to_string(),
            }),
        }
    }
}

/// A panic while it was held has rolled back its transaction: the store is as good as before.
fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    fn open(options: &SqliteOptions) -> Result<Self, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&options.path, flags)?;
        connection.busy_timeout(options.busy_timeout)?;
        if connection.is_readonly("main")? {
            return Err(Failure::ReadOnly);
        }
        schema::migrate(&mut connection)?;
        // Readers (the user's queries) and the writer do not wait for each other.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit is on the disk when it returns: what is acknowledged upstream then is gone there.
        connection.pragma_update(None, "synchronous", "FULL")?;
        let views = Views::load(&connection)?;
        Ok(Self {
            connection,
            views,
            retention: retention::Schedule::default(),
        })
    }

    fn write(&mut self, rows: &[Row]) -> Result<Vec<RejectedPoint>, Failure> {
        // Immediate: a transaction that becomes a writer later cannot wait for its turn.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut rejected = Vec::new();
        let mut created = Vec::new();
        {
            let mut upsert = transaction.prepare_cached(UPSERT)?;
            for (index, row) in rows.iter().enumerate() {
                match upsert.execute((&row.measurement, &row.tags, &row.fields, row.time_ns)) {
                    Ok(_) => {}
                    Err(error) if is_about_the_row(&error) => {
                        rejected.push(RejectedPoint {
                            index,
                            error: error.to_string(),
                        });
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
                if !self.views.knows(&row.measurement) && !created.contains(&&row.measurement) {
                    schema::create_view(&transaction, row)?;
                    created.push(&row.measurement);
                }
            }
        }
        transaction.commit()?;
        for measurement in created {
            self.views.add(measurement);
        }
        Ok(rejected)
    }
}

/// Errors that this row would have for ever and others would not.
fn is_about_the_row(error: &rusqlite::Error) -> bool {
    matches!(
        error
            .sqlite_error()
            .map(|error| (error.code, error.extended_code)),
        Some((ErrorCode::TooBig, _) | (_, ffi::SQLITE_CONSTRAINT_CHECK))
    )
}

#[cfg(test)]
mod tests;
