//! Deleting what is too old. Pure functions decide what goes; it is counted and deleted in pieces
//! that hold up no write for long.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::failure::Failure;

/// Rows deleted in one transaction: some 10 ms.
pub(super) const CHUNK_ROWS: u64 = 2_000;

/// Rows counted at one time: some 10 ms.
const COUNT_ROWS: u32 = 50_000;

/// A pass may delete this many points, whatever the file holds.
pub(super) const PASS_POINTS: u64 = 10_000;

/// In a larger file, a pass may delete one point in this many: 5 %.
const PASS_ONE_OF: u64 = 20;

/// Passes in one retention, where that is short: in a steady stream a pass then has to delete one
/// point of 40, which leaves it as much again for what has piled up.
const PASSES: i64 = 40;

const SECOND_NS: i64 = 1_000_000_000;
const EVERY_MIN_NS: i64 = 60 * SECOND_NS;
const EVERY_MAX_NS: i64 = 600 * SECOND_NS;

/// The time of the newest point that Home Assistant has dated. The producer dates its own records
/// by the very clock that the data is to be held against, and the weather provider dates the
/// observations: neither tells how far the data reaches.
pub(super) const NEWEST: &str = "SELECT time_ns FROM points \
     WHERE measurement NOT IN ('data_quality', 'home_assistant_entities', 'weather') \
     ORDER BY time_ns DESC LIMIT 1";

/// The next rows of a count.
pub(super) const COUNTED: &str = "SELECT time_ns, rowid FROM points \
     WHERE (time_ns, rowid) > (?1, ?2) AND time_ns < ?3 ORDER BY time_ns, rowid LIMIT ?4";

/// The oldest rows before a time.
pub(super) const DELETE: &str = "DELETE FROM points WHERE rowid IN \
     (SELECT rowid FROM points WHERE time_ns < ?1 ORDER BY time_ns LIMIT ?2)";

/// What the retention means for the points that are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionSurvey {
    /// How long points are kept.
    pub kept: Duration,
    /// The time of the newest point that Home Assistant's clock has dated, nanoseconds since the
    /// run; `None` if there is none.
    pub newest_ns: Option<i64>,
    /// Points before this time are deleted, nanoseconds since the epoch; `None` if none are,
    /// whatever their time.
    pub cutoff_ns: Option<i64>,
    /// All points.
    pub points: u64,
    /// Those before the cut-off.
    pub older: u64,
    /// The most that the next pass deletes.
    pub pass_points_max: u64,
    /// Time between two passes.
    pub every: Duration,
}

/// What one pass has deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPass {
    /// Points deleted; at least one.
    pub deleted: u64,
    /// All of them were before this time, nanoseconds since the epoch.
    pub cutoff_ns: i64,
    /// Points before the cut-off that are left for later passes.
    pub older_left: u64,
}

/// When retention is due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    last_ns: Option<i64>,
}

impl Schedule {
    /// True if it is due; then it is not again for `every_ns`. A clock set back makes it due.
    pub(super) fn begin(&mut self, now_ns: i64, every_ns: i64) -> bool {
        let is_due = self
            .last_ns
            .is_none_or(|last| !(last..last.saturating_add(every_ns)).contains(&now_ns));
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

/// The time between two passes: ten minutes, or less where the retention is short, so that a pass
/// may always delete more than has become too old since the last one.
pub(super) fn every_ns(kept: Duration) -> i64 {
    (nanos(kept) / PASSES).clamp(EVERY_MIN_NS, EVERY_MAX_NS)
}

/// Points before this time are too old: the retention counts back from the newest point, or from
/// our clock where that is behind it. A clock that is ahead makes nothing older than the data
/// itself says, and a point dated in the future makes nothing older than the clock says. Where
/// there is no newest point, nothing is too old.
pub(super) fn cutoff_ns(now_ns: i64, newest_ns: Option<i64>, kept: Duration) -> Option<i64> {
    newest_ns.map(|newest_ns| newest_ns.min(now_ns).saturating_sub(nanos(kept)))
}

/// The largest number of points that one pass deletes, by the number in the file. A wrong setting or
/// a wrong clock costs this much before the log has said so.
pub(super) fn pass_points_max(points: u64) -> u64 {
    (points / PASS_ONE_OF).max(PASS_POINTS)
}

fn nanos(kept: Duration) -> i64 {
    i64::try_from(kept.as_nanos()).unwrap_or(i64::MAX)
}

/// The time of the newest point that counts ([`NEWEST`]).
pub(super) fn newest_ns(connection: &Connection) -> Result<Option<i64>, Failure> {
    let mut newest = connection.prepare_cached(NEWEST)?;
    Ok(newest.query_row([], |row| row.get(0)).optional()?)
}

/// Where a count has come to: time and rowid of the last row counted.
pub(super) const BEGINNING: (i64, i64) = (i64::MIN, i64::MIN);

/// Counts on, towards the rows at `before_ns`; `None` for the place when all are counted.
pub(super) fn count_chunk(
    connection: &Connection,
    (time_ns, rowid): (i64, i64),
    before_ns: i64,
) -> Result<(u64, Option<(i64, i64)>), Failure> {
    let mut select = connection.prepare_cached(COUNTED)?;
    let mut rows = select.query((time_ns, rowid, before_ns, COUNT_ROWS))?;
    let (mut counted, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        counted += 1;
        if counted == u64::from(COUNT_ROWS) {
            last = Some((row.get(0)?, row.get(1)?));
        }
    }
    Ok((counted, last))
}

/// Deletes the oldest rows before the cut-off, up to a limit. Returns 0 when none are left.
pub(super) fn delete_chunk(
    connection: &Connection,
    cutoff_ns: i64,
    rows_max: u64,
) -> Result<u64, Failure> {
    let mut delete = connection.prepare_cached(DELETE)?;
    let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
    Ok(delete.execute((cutoff_ns, rows_max))? as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_NS: i64 = 86_400 * SECOND_NS;

    fn days(days: u64) -> Duration {
        Duration::from_secs(days * 86_400)
    }

    #[test]
    fn it_is_due_every_ten_minutes_and_after_a_failure() {
        let minutes = |minutes: i64| minutes * 60 * SECOND_NS;
        let every = every_ns(days(30));
        let mut schedule = Schedule::default();
        assert!(schedule.begin(minutes(100), every));
        assert!(!schedule.begin(minutes(109), every));
        assert!(schedule.begin(minutes(110), every));
        schedule.failed();
        assert!(schedule.begin(minutes(111), every));
        assert!(schedule.begin(minutes(5), every), "the clock was set back");
    }

    #[test]
    fn passes_are_frequent_enough_for_a_short_retention() {
        for (kept_s, every_s) in [
            (30 * 86_400, 600),
            (12 * 3_600, 600),
            (4 * 3_600, 360),
            (3_600, 90),
            (60, 60),
            (u64::MAX, 600),
        ] {
            let every = every_ns(Duration::from_secs(kept_s));
            assert_eq!(every, every_s * SECOND_NS, "{kept_s}");
        }
    }

    #[test]
    fn the_cut_off_counts_back_from_the_data_and_never_from_a_time_to_come() {
        let today = 20_000 * DAY_NS;
        let ago = |days: i64| today - days * DAY_NS;
        for (what, now, newest, kept, cutoff) in [
            ("events come in", today, Some(today), 30, Some(ago(30))),
            (
                "our clock is ahead",
                ago(-40),
                Some(today),
                30,
                Some(ago(30)),
            ),
            (
                "our clock is behind",
                ago(9_000),
                Some(today),
                30,
                Some(ago(9_030)),
            ),
            (
                "a point of 2099",
                today,
                Some(ago(-27_000)),
                30,
                Some(ago(30)),
            ),
            (
                "no event for weeks",
                today,
                Some(ago(50)),
                30,
                Some(ago(80)),
            ),
            ("nothing stored", today, None, 30, None),
            (
                "longer than time",
                5,
                Some(5),
                u64::MAX / 86_400,
                Some(5 - i64::MAX),
            ),
        ] {
            assert_eq!(cutoff_ns(now, newest, days(kept)), cutoff, "{what}");
        }
    }

    #[test]
    fn a_pass_deletes_a_twentieth_or_ten_thousand() {
        for (points, most) in [
            (0, 10_000),
            (9_000, 10_000),
            (200_000, 10_000),
            (200_020, 10_001),
            (26_000_000, 1_300_000),
        ] {
            assert_eq!(pass_points_max(points), most);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_too_old_by_the_clock_alone_or_by_the_data_alone(
            now in any::<i64>(),
            newest in any::<i64>(),
            ahead in 0..i64::MAX,
            kept_s in 1..u64::MAX / 1_000_000_000,
        ) {
            let kept = Duration::from_secs(kept_s);
            let cutoff = cutoff_ns(now, Some(newest), kept).unwrap();
            for from in [now, newest] {
                let age_ns = i128::from(from) - i128::from(cutoff);
                prop_assert!(
                    age_ns >= kept.as_nanos().min(i64::MAX as u128) as i128 || cutoff == i64::MIN
                );
            }
            // However far the clock goes ahead of the data, no point more is too old.
            let later = newest.max(now).saturating_add(ahead);
            let by_data = cutoff_ns(later, Some(newest), kept);
            prop_assert_eq!(by_data, cutoff_ns(newest, Some(newest), kept));
            // The same for a point dated ever further in the future.
            let by_clock = cutoff_ns(now, Some(later), kept);
            prop_assert_eq!(by_clock, cutoff_ns(now, Some(now), kept));
        }

        #[test]
        fn passes_are_bounded_and_come_to_an_end(
            points in 0..100_000_000_u64,
            share in 0.0..=1.0,
        ) {
            let (mut points, mut older) = (points, (points as f64 * share) as u64);
            let mut passes = 0;
            while older > 0 {
                let deleted = older.min(pass_points_max(points));
                prop_assert!(deleted > 0);
                prop_assert!(deleted <= 10_000 || deleted * 20 <= points);
                (points, older, passes) = (points - deleted, older - deleted, passes + 1);
            }
            // A day of passes, even where all of a hundred million points are too old.
            prop_assert!(passes <= 144, "{passes}");
        }
    }
}
