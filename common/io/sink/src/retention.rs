//! Retention of the embedded database: what is said of it, and the passes.

use crate::{RetentionSurvey, Sink, Sqlite, SqliteError};
use ha_event::UtcMicros;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often a pass is checked for being due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// With data this much older than the clock, it is said that the data counts.
const BEHIND_CLOCK_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// `check` warns when more than one point in this many is too old: passes that keep up leave fewer.
const WARN_ONE_OF: u64 = 20;

/// What is kept, and what will be deleted.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// In one sentence.
    pub finding: String,
    /// More is about to be deleted than becomes too old while a process runs.
    pub is_much: bool,
}

/// Says what the retention means for what is stored.
///
/// # Errors
/// The file could not be read.
pub async fn kept(sqlite: &Sqlite) -> Result<Kept, SqliteError> {
    let now_ns = now_ns();
    let survey = sqlite.survey_retention(now_ns).await?;
    Ok(describe(survey.as_ref(), now_ns))
}

fn describe(survey: Option<&RetentionSurvey>, now_ns: i64) -> Kept {
    let Some(survey) = survey else {
        return Kept {
            finding: "points are kept for ever (SQLITE_RETENTION=0)".to_owned(),
            is_much: false,
        };
    };
    let kept = length(survey.kept);
    let mut finding = format!("points are kept for {kept} (SQLITE_RETENTION): ");
    match (survey.cutoff_ns, survey.older) {
        (None, _) => finding.push_str("no event is stored yet, and nothing will be deleted"),
        (Some(cutoff_ns), 0) => finding.push_str(&format!(
            "none of {} is older than {}",
            survey.points,
            time(cutoff_ns)
        )),
        (Some(cutoff_ns), older) => finding.push_str(&format!(
            "{older} of {} are older than {} and will be deleted by run, at most {} every {}",
            survey.points,
            time(cutoff_ns),
            survey.pass_points_max,
            length(survey.every)
        )),
    }
    if let Some(newest_ns) = survey.newest_ns
        && now_ns.saturating_sub(newest_ns) > BEHIND_CLOCK_NS
    {
        finding.push_str(&format!(
            "; the newest event stored is of {}, and the retention counts back from it, not from \
             this machine's clock",
            time(newest_ns)
        ));
    }
    Kept {
        finding,
        is_much: survey.older > survey.points / WARN_ONE_OF,
    }
}

/// Deletes what is older than the embedded database's retention, for as long as the process runs,
/// and says what is kept and what was deleted.
pub async fn keep_retention(sink: Arc<Sink>) {
    let Sink::Sqlite(sqlite) = sink.as_ref() else {
        return;
    };
    match kept(sqlite).await {
        Ok(kept) => tracing::info!("{}", kept.finding),
        Err(error) => tracing::warn!(%error, "it is not known how many points are too old"),
    }
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        every.tick().await;
        match sqlite.enforce_retention(now_ns()).await {
            Ok(Some(pass)) => tracing::info!(
                points = pass.deleted,
                older_than = %time(pass.cutoff_ns),
                older_left = pass.older_left,
                "deleted points that are older than SQLITE_RETENTION"
            ),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "old points could not be deleted; trying again");
            }
        }
    }
}

fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}

fn time(time_ns: i64) -> UtcMicros {
    UtcMicros(time_ns.div_euclid(1_000))
}

/// In the largest unit that leaves no rest.
fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    for (unit, unit_seconds) in [(" days", 86_400), (" hours", 3_600), (" minutes", 60)] {
        if seconds >= unit_seconds && seconds.is_multiple_of(unit_seconds) {
            return format!("{}{unit}", seconds / unit_seconds);
        }
    }
    format!("{seconds} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_NS: i64 = 86_400 * 1_000_000_000;
    /// 2026-11-21T00:00:00Z
    const NOW_NS: i64 = 20_778 * DAY_NS;

    fn survey(points: u64, older: u64, newest_ns: i64) -> RetentionSurvey {
        RetentionSurvey {
            kept: Duration::from_secs(30 * 86_400),
            newest_ns: Some(newest_ns),
            cutoff_ns: Some(newest_ns - 30 * DAY_NS),
            points,
            older,
            pass_points_max: 10_000,
            every: Duration::from_secs(600),
        }
    }

    #[test]
    fn what_is_kept_and_what_will_go_is_said() {
        let empty = RetentionSurvey {
            newest_ns: None,
            cutoff_ns: None,
            ..survey(0, 0, 0)
        };
        let steady = "points are kept for 30 days (SQLITE_RETENTION): 50 of 1000 are older than \
                      2026-10-22T00:00:00.000000Z and will be deleted by run, at most 10000 every \
                      10 minutes";
        for (survey, finding, is_much) in [
            (None, "points are kept for ever (SQLITE_RETENTION=0)", false),
            (
                Some(empty),
                "points are kept for 30 days (SQLITE_RETENTION): no event is stored yet, and \
                 nothing will be deleted",
                false,
            ),
            (
                Some(survey(1_000, 0, NOW_NS)),
                "points are kept for 30 days (SQLITE_RETENTION): none of 1000 is older than \
                 2026-10-22T00:00:00.000000Z",
                false,
            ),
            (Some(survey(1_000, 50, NOW_NS)), steady, false),
            (
                Some(survey(1_000, 51, NOW_NS)),
                &steady.replace("50 of", "51 of"),
                true,
            ),
            (
                Some(survey(1_000, 0, NOW_NS - 40 * DAY_NS)),
                "points are kept for 30 days (SQLITE_RETENTION): none of 1000 is older than \
                 2026-09-12T00:00:00.000000Z; the newest event stored is of \
                 2026-10-12T00:00:00.000000Z, and the retention counts back from it, not from this \
                 machine's clock",
                false,
            ),
        ] {
            let kept = describe(survey.as_ref(), NOW_NS);
            assert_eq!((kept.finding.as_str(), kept.is_much), (finding, is_much));
        }
    }

    #[test]
    fn lengths_are_told_in_their_own_unit() {
        for (seconds, text) in [
            (30 * 86_400, "30 days"),
            (36 * 3_600, "36 hours"),
            (600, "10 minutes"),
            (90, "90 s"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
    }
}
