//! Deleting what is too old, in pieces that hold up no write for long.

use std::time::Duration;

use rusqlite::Connection;

use super::Failure;

/// Rows deleted in one transaction: some 10 ms.
const CHUNK_ROWS: u32 = 2000;
const EVERY_NS: i64 = 600 * 1_000_000_000;

/// When retention is due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    last_ns: Option<i64>,
}

impl Schedule {
    /// True if it is due; then it is not again for ten minutes. A clock set back makes it due.
    pub(super) fn begin(&mut self, now_ns: i64) -> bool {
        let is_due = self
            .last_ns
            .is_none_or(|last| !(last..last.saturating_add(EVERY_NS)).contains(&now_ns));
        if is_due {
            self.last_ns = Some(now_ns);
        }
        is_due
    }

    /// The next call tries again.
    pub(super) fn failed(&mut self) {
        self.last_ns = None;
    }
}

/// Points before this time go.
pub(super) fn oldest_kept_ns(now_ns: i64, retention: Duration) -> i64 {
    now_ns.saturating_sub(i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX))
}

/// Deletes some of the rows that are too old; 0 when none are left.
pub(super) fn delete_chunk(connection: &Connection, oldest_kept_ns: i64) -> Result<usize, Failure> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM points WHERE rowid IN \
         (SELECT rowid FROM points WHERE time_ns < ?1 ORDER BY time_ns LIMIT ?2)",
    )?;
    Ok(delete.execute((oldest_kept_ns, CHUNK_ROWS))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_every_ten_minutes_and_after_a_failure() {
        let minutes = |minutes: i64| minutes * 60_000_000_000;
        let mut schedule = Schedule::default();
        assert!(schedule.begin(minutes(100)));
        assert!(!schedule.begin(minutes(109)));
        assert!(schedule.begin(minutes(110)));
        schedule.failed();
        assert!(schedule.begin(minutes(111)));
        assert!(schedule.begin(minutes(5)), "the clock was set back");
        assert_eq!(
            oldest_kept_ns(5, Duration::from_secs(u64::MAX)),
            5 - i64::MAX
        );
    }
}
