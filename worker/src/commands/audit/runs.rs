//! The judgement, without any reading: which numbers of each run are missing, and why.

use super::database::{Count, Number, Window};
use super::ranges::{Gap, RangeSet};
use serde::Serialize;
use std::collections::BTreeMap;

const SECOND_NS: i64 = 1_000_000_000;

/// Gap fill reaches back this far before the oldest event that was not settled.
const REACH_BACK_NS: i64 = 60 * SECOND_NS;

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Runs {
    window: Window,
    runs: BTreeMap<(String, u64), Run>,
    /// Backfilled points that carry no number, by home and second: those that stand for events
    /// whose numbers nobody stored.
    backfilled: BTreeMap<String, BTreeMap<i64, u64>>,
}

#[derive(Debug, Default)]
struct Run {
    stored: RangeSet,
    dead_letters: RangeSet,
    /// Both together.
    known: RangeSet,
    /// Numbers seen inside of the window.
    seen: Option<(u64, u64)>,
    /// The last number before the window, as the producer counted.
    counted_before: Option<u64>,
    /// The last number in the window, as the producer counted.
    counted: Option<u64>,
    lost: u64,
    last_ns: i64,
}

/// What an run's judgement says.
#[derive(Debug, Serialize)]
pub(super) struct RunReport {
    pub instance: String,
    #[serde(rename = "epoch")]
    pub run_id: u64,
    /// The numbers that must be there.
    pub first: u64,
    pub last: u64,
    pub stored: u64,
    /// Of those that are not stored.
    pub dead_letters: u64,
    pub gaps: Vec<GapReport>,
}

/// Numbers that are neither stored nor dead letters.
#[derive(Debug, Serialize)]
pub(super) struct GapReport {
    pub first: u64,
    pub last: u64,
    pub count: u64,
    pub why: Why,
    pub before: Option<Neighbour>,
    pub after: Option<Neighbour>,
}

/// An event next to a gap.
#[derive(Debug, Serialize)]
pub(super) struct Neighbour {
    pub sequence: u64,
    #[serde(skip)]
    pub time_ns: i64,
    pub time: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Why {
    /// The producer was killed holding them, and gap fill fetched the states from history, which
    /// has no numbers.
    Backfilled,
    /// The producer counted them as lost.
    Lost,
    /// Nobody knows.
    Unexplained,
}

impl Runs {
    pub fn new(window: Window) -> Self {
        Self {
            window,
            runs: BTreeMap::new(),
            backfilled: BTreeMap::new(),
        }
    }

    pub fn counted(&mut self, count: &Count<'_>) {
        let Window { since_ns, until_ns } = self.window;
        let run_id = self
            .runs
            .entry((count.instance.to_owned(), count.run_id))
            .or_default();
        run_id.lost = run_id.lost.max(count.lost);
        if count.time_ns < since_ns {
            run_id.counted_before = run_id.counted_before.max(Some(count.sequence_last));
        } else if count.time_ns < until_ns {
            run_id.counted = run_id.counted.max(Some(count.sequence_last));
        }
    }

    pub fn stored(&mut self, number: &Number<'_>) {
        let Some((run_id, sequence)) = number.number else {
            if number.is_backfilled {
                let of = self
                    .backfilled
                    .entry(number.instance.to_owned())
                    .or_default();
                *of.entry(number.time_ns.div_euclid(SECOND_NS)).or_default() += 1;
            }
            return;
        };
        let window = self.window;
        let run_id = self
            .runs
            .entry((number.instance.to_owned(), run_id))
            .or_default();
        run_id.stored.insert(sequence, number.time_ns);
        run_id.found(window, sequence, number.time_ns);
    }

    pub fn dead_letter(&mut self, instance: &str, run_id: u64, sequence: u64, time_ns: i64) {
        let window = self.window;
        let run_id = self.runs.entry((instance.to_owned(), run_id)).or_default();
        run_id.dead_letters.insert(sequence, time_ns);
        run_id.found(window, sequence, time_ns);
    }

    pub fn judge(&self) -> Vec<RunReport> {
        let mut reports = Vec::new();
        for ((instance, number), run_id) in &self.runs {
            let Some((first, last)) = run_id.expected(*number, self.window) else {
                continue;
            };
            let next_run_id = self
                .runs
                .range((instance.clone(), number + 1)..)
                .map(|((name, next), _)| (name, *next))
                .find(|(name, _)| *name == instance)
                .map(|(_, next)| run_id_start_ns(next));
            let mut lost = run_id.lost;
            let gaps = run_id.known.gaps(first, last).into_iter().map(|gap| {
                let why = if self.is_backfilled(instance, run_id, next_run_id, &gap) {
                    Why::Backfilled
                } else if gap.count() <= lost {
                    lost -= gap.count();
                    Why::Lost
                } else {
                    Why::Unexplained
                };
                GapReport::new(&gap, why)
            });
            let gaps: Vec<_> = gaps.collect();
            let stored = run_id.stored.count_within(first, last);
            let known = run_id.known.count_within(first, last);
            reports.push(RunReport {
                instance: instance.clone(),
                run_id: *number,
                first,
                last,
                stored,
                dead_letters: known - stored,
                gaps,
            });
        }
        reports
    }

    /// An unclean stop leaves gaps near the end of its run. They are explained when the next run
    /// has fetched at least as many states without a number from the time between.
    fn is_backfilled(
        &self,
        instance: &str,
        run_id: &Run,
        next_run_id_ns: Option<i64>,
        gap: &Gap,
    ) -> bool {
        let (Some(next_ns), Some(seconds)) = (next_run_id_ns, self.backfilled.get(instance)) else {
            return false;
        };
        let before_ns = gap.before.map_or(i64::MIN, |(_, time_ns)| time_ns);
        if before_ns < run_id.last_ns.saturating_sub(REACH_BACK_NS) {
            return false;
        }
        let from = before_ns
            .saturating_sub(REACH_BACK_NS)
            .div_euclid(SECOND_NS);
        let to = next_ns.saturating_add(REACH_BACK_NS).div_euclid(SECOND_NS);
        from <= to
            && seconds
                .range(from..=to)
                .map(|(_, count)| count)
                .sum::<u64>()
                >= gap.count()
    }
}

impl Run {
    fn found(&mut self, window: Window, sequence: u64, time_ns: i64) {
        self.known.insert(sequence, time_ns);
        self.last_ns = self.last_ns.max(time_ns);
        if (window.since_ns..window.until_ns).contains(&time_ns) {
            let (first, last) = self.seen.unwrap_or((sequence, sequence));
            self.seen = Some((first.min(sequence), last.max(sequence)));
        }
    }

    /// The numbers that must be there: all from the first to the last of the window. An run that
    /// began in it must be there from 1.
    fn expected(&self, run_id: u64, window: Window) -> Option<(u64, u64)> {
        let first = if run_id_start_ns(run_id) >= window.since_ns {
            Some(1)
        } else {
            let counted = self.counted_before.map(|last| last + 1);
            let seen = self.seen.map(|(first, _)| first);
            match (seen, counted) {
                (Some(seen), Some(counted)) => Some(seen.min(counted)),
                (seen, counted) => seen.or(counted),
            }
        };
        let last = self.seen.map(|(_, last)| last).max(self.counted);
        first
            .zip(last)
            .filter(|(first, last)| first <= last && *last > 0)
    }
}

impl GapReport {
    fn new(gap: &Gap, why: Why) -> Self {
        let neighbour = |(sequence, time_ns): (u64, i64)| Neighbour {
            sequence,
            time_ns,
            time: crate::commands::moment::to_microsecond(time_ns),
        };
        Self {
            first: gap.first,
            last: gap.last,
            count: gap.count(),
            why,
            before: gap.before.map(neighbour),
            after: gap.after.map(neighbour),
        }
    }
}

/// An run's number is the time of its start in milliseconds.
fn run_id_start_ns(run_id: u64) -> i64 {
    i64::try_from(run_id)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_000_000;
    const WINDOW: Window = Window {
        since_ns: 0,
        until_ns: i64::MAX,
    };

    fn runs(numbers: impl IntoIterator<Item = u64>) -> Runs {
        let mut runs = Runs::new(WINDOW);
        for sequence in numbers {
            store(&mut runs, START_MS, sequence);
        }
        runs
    }

    /// Event n of an run happens n milliseconds after its start.
    fn store(runs: &mut Runs, run_id: u64, sequence: u64) {
        let time_ns = run_id_start_ns(run_id + sequence);
        let number = Some((run_id, sequence));
        runs.stored(&Number {
            instance: "home",
            time_ns,
            number,
            is_backfilled: false,
        });
    }

    fn count(runs: &mut Runs, sequence_last: u64, lost: u64) {
        let time_ns = run_id_start_ns(START_MS + 60_000);
        let run_id = START_MS;
        runs.counted(&Count {
            instance: "home",
            time_ns,
            run_id,
            sequence_last,
            lost,
        });
    }

    fn whys(runs: &Runs) -> Vec<(u64, u64, Why)> {
        let reports = runs.judge();
        let gaps = reports.iter().flat_map(|report| &report.gaps);
        gaps.map(|gap| (gap.first, gap.last, gap.why)).collect()
    }

    #[test]
    fn complete_runs_have_no_gaps_and_missing_ones_are_named() {
        assert_eq!(whys(&runs(1..=100)), []);
        let missing = |number: &u64| ![1, 2, 50].contains(number);
        assert_eq!(
            whys(&runs((1..=100).filter(missing))),
            [(1, 2, Why::Unexplained), (50, 50, Why::Unexplained)]
        );
    }

    #[test]
    fn dead_letters_explain_and_are_counted() {
        let mut runs = runs((1..=10).filter(|number| *number != 5));
        runs.dead_letter("home", START_MS, 5, run_id_start_ns(START_MS + 5));
        let report = &runs.judge()[0];
        assert_eq!(
            (report.stored, report.dead_letters, report.gaps.len()),
            (9, 1, 0)
        );
    }

    #[test]
    fn the_end_is_what_the_producer_counted() {
        let mut found = runs(1..=10);
        count(&mut found, 12, 0);
        assert_eq!(whys(&found), [(11, 12, Why::Unexplained)]);
        let mut found = runs(1..=10);
        count(&mut found, 12, 2);
        assert_eq!(whys(&found), [(11, 12, Why::Lost)]);
        let mut found = runs(1..=10);
        count(&mut found, 13, 2);
        assert_eq!(
            whys(&found),
            [(11, 13, Why::Unexplained)],
            "more than was counted as lost"
        );
    }

    #[test]
    fn a_window_inside_of_an_run_id_asks_for_no_more_than_it_shows() {
        let window = Window {
            since_ns: run_id_start_ns(START_MS + 10),
            until_ns: run_id_start_ns(START_MS + 21),
        };
        let mut runs = Runs::new(window);
        for sequence in (5..=30).filter(|number| *number != 15 && *number != 25) {
            store(&mut runs, START_MS, sequence);
        }
        assert_eq!(whys(&runs), [(15, 15, Why::Unexplained)]);
    }

    #[test]
    fn the_end_of_a_killed_run_is_explained_by_what_the_next_one_fetched() {
        let with = |fetched: u64| {
            let mut runs = runs((1..=100).filter(|number| *number < 96 || *number == 99));
            store(&mut runs, START_MS + 5_000, 1);
            for event in 0..fetched {
                let time_ns = run_id_start_ns(START_MS + 96 + event);
                let number = None;
                runs.stored(&Number {
                    instance: "home",
                    time_ns,
                    number,
                    is_backfilled: true,
                });
            }
            whys(&runs)
        };
        assert_eq!(with(3), [(96, 98, Why::Backfilled)]);
        assert_eq!(with(2), [(96, 98, Why::Unexplained)]);
        // The last number that anyone saw is 99; what came behind it, nobody knows.
    }
}
