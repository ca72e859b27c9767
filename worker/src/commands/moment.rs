//! Times on the command line and in what is printed.

pub(crate) use ha_pipeline::now_ns;
use ha_settings::Problems;

/// Reads an RFC 3339 time, or a length of time before now such as `30m`, `2h` or `1d`, as
/// nanoseconds since the epoch.
pub(crate) fn moment(problems: &mut Problems, name: &str, text: &str, now_ns: i64) -> i64 {
    let text = text.trim();
    if let Ok(at) = ha_event::UtcMicros::parse(text) {
        return at.as_nanos();
    }
    let mut unread = Problems::default();
    let ago = ha_settings::seconds(&mut unread, name, text.strip_suffix(" ago").unwrap_or(text));
    if !unread.is_empty() {
        problems.bad(
            name,
            text,
            "a time such as 2026-11-21T20:00:00Z, or 30m, 2h or 1d ago",
        );
        return now_ns;
    }
    now_ns.saturating_sub(i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX))
}

/// To the second, for tables.
pub(crate) fn to_second(time_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time_ns))
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

/// To the microsecond, RFC 3339.
pub(crate) fn to_microsecond(time_ns: i64) -> String {
    ha_event::UtcMicros(time_ns.div_euclid(1_000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_before_now() {
        let mut problems = Problems::default();
        let now = 10_000_000_000_000;
        assert_eq!(
            moment(&mut problems, "T", "1970-01-01T01:00:00Z", now),
            3_600_000_000_000
        );
        assert_eq!(
            moment(&mut problems, "T", "30m", now),
            now - 1_800_000_000_000
        );
        assert_eq!(
            moment(&mut problems, "T", "2h ago", now),
            now - 7_200_000_000_000
        );
        assert!(problems.is_empty());
        moment(&mut problems, "--since", "yesterday", now);
        assert!(
            problems
                .to_string()
                .contains("--since: \"yesterday\" is not valid")
        );
        assert_eq!(to_second(3_600_000_000_000), "1970-01-01 01:00:00");
    }
}
