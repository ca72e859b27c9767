//! The one write path: encoded points go to InfluxDB, to an embedded SQLite file, or nowhere.
//!
//! A sink makes one attempt and says what became of it ([`WriteOutcome`]); when to try again, what
//! to acknowledge and what to dead-letter is for the caller to decide. Writing a batch again is
//! always safe: a point with the same measurement, tags and time is merged, never doubled.
//!
//! The write goes over a client of ours and not over the `influxdb2` crate, which throws away
//! response headers (`Retry-After`), has no HTTPS here and drops a path prefix; that crate serves
//! the v2 API around the write (`influxdb2_api`).

mod influxdb;
mod influxdb2_api;
mod outcome;
pub mod query;
mod retention;
mod sqlite;

use std::sync::atomic::{AtomicU64, Ordering};

use ha_point::{Format, PointBuffer};

pub use influxdb::{
    Api, AttributeFields, InfluxDb, InfluxDbOptions, LeftOut, LeftOutReason, OptionsError,
};
pub use outcome::{ProbeError, ProbeReport, RejectedPoint, WriteOutcome};
pub use retention::{Kept, keep_retention, kept};
pub use sqlite::{RetentionPass, RetentionSurvey, Sqlite, SqliteError, SqliteOptions};

/// Where points go.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a process has one sink and never moves it"
)]
pub enum Sink {
    /// InfluxDB over HTTP.
    InfluxDb(InfluxDb),
    /// The embedded database.
    Sqlite(Sqlite),
    /// Nowhere.
    Null(Null),
}

/// Counts and discards: measures everything in front of the database.
#[derive(Debug, Default)]
pub struct Null {
    points: AtomicU64,
}

impl Null {
    /// Points taken so far.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.points.load(Ordering::Relaxed)
    }
}

impl Sink {
    /// The encoding that [`Sink::write`] takes.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::InfluxDb(_) | Self::Null(_) => Format::LineProtocol,
            Self::Sqlite(_) => Format::Rows,
        }
    }

    /// One attempt to store all points. Points in the other encoding are [`WriteOutcome::Refused`].
    ///
    /// Dropping the future leaves open what was stored.
    pub async fn write(&self, points: &PointBuffer) -> WriteOutcome {
        match (self, points) {
            (Self::InfluxDb(influxdb), PointBuffer::Lines(lines)) => influxdb.write(lines).await,
            (Self::Sqlite(sqlite), PointBuffer::Rows(rows)) => sqlite.write(rows).await,
            (Self::Null(null), _) => {
                null.points
                    .fetch_add(points.len() as u64, Ordering::Relaxed);
                WriteOutcome::Written
            }
            _ => WriteOutcome::Refused {
                reason: "the points were encoded for another sink".to_owned(),
            },
        }
    }

    /// Attributes that were left out of stored points since this was last asked, because the database
    /// does not take them.
    #[must_use]
    pub fn take_left_out(&self) -> LeftOut {
        match self {
            Self::InfluxDb(influxdb) => influxdb.take_left_out(),
            Self::Sqlite(_) | Self::Null(_) => LeftOut::default(),
        }
    }

    /// Tries everything that a write needs, without storing anything.
    ///
    /// # Errors
    /// What is missing and its remedy.
    pub async fn probe(&self) -> Result<ProbeReport, ProbeError> {
        match self {
            Self::InfluxDb(influxdb) => influxdb.probe().await,
            Self::Sqlite(sqlite) => sqlite.probe().await,
            Self::Null(_) => Ok(ProbeReport {
                target: "nowhere (points are counted and discarded)".to_owned(),
                version: None,
                steps: Vec::new(),
            }),
        }
    }
}
