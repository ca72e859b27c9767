//! Sets of sequence numbers as ranges: a million numbers without gaps are one range.

use std::collections::BTreeMap;

/// The time of the event with a number, nanoseconds since the epoch.
type TimeNs = i64;

/// A set of numbers, and when the events at the edges of its ranges happened.
#[derive(Debug, Default, Clone)]
pub(super) struct RangeSet {
    /// First number of a range, to the rest of it. Ranges neither overlap nor touch.
    ranges: BTreeMap<u64, Range>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    last: u64,
    first_ns: TimeNs,
    last_ns: TimeNs,
}

/// Numbers that are not in a set, one after the other, and their neighbours that are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub first: u64,
    pub last: u64,
    /// Number and time of the event before.
    pub before: Option<(u64, TimeNs)>,
    /// Number and time of the event behind.
    pub after: Option<(u64, TimeNs)>,
}

impl Gap {
    pub fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

impl RangeSet {
    /// Adds a number; one that is there stays as it is.
    pub fn insert(&mut self, number: u64, time_ns: TimeNs) {
        let before = self.ranges.range_mut(..=number).next_back();
        let joined = match before {
            Some((_, range)) if range.last >= number => return,
            Some((first, range)) if range.last.checked_add(1) == Some(number) => {
                (range.last, range.last_ns) = (number, time_ns);
                *first
            }
            _ => {
                let alone = Range {
                    last: number,
                    first_ns: time_ns,
                    last_ns: time_ns,
                };
                self.ranges.insert(number, alone);
                number
            }
        };
        let Some(next) = number.checked_add(1) else {
            return;
        };
        if let Some(behind) = self.ranges.remove(&next)
            && let Some(range) = self.ranges.get_mut(&joined)
        {
            (range.last, range.last_ns) = (behind.last, behind.last_ns);
        }
    }

    /// Numbers of the set in `first..=last`.
    pub fn count_within(&self, first: u64, last: u64) -> u64 {
        let overlap = |(from, range): (&u64, &Range)| {
            let (from, to) = ((*from).max(first), range.last.min(last));
            if from > to { 0 } else { to - from + 1 }
        };
        self.ranges.iter().map(overlap).sum()
    }

    /// What of `first..=last` is not in the set.
    pub fn gaps(&self, first: u64, last: u64) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut next = first;
        let mut before = self
            .ranges
            .range(..first)
            .next_back()
            .map(|(_, range)| (range.last, range.last_ns));
        // A range that begins before `first` may reach into it.
        if let Some((reached, _)) = before.filter(|(reached, _)| *reached >= first) {
            next = reached.saturating_add(1);
        }
        for (from, range) in self.ranges.range(first..) {
            if *from > last || next > last {
                break;
            }
            if *from > next {
                let after = Some((*from, range.first_ns));
                gaps.push(Gap {
                    first: next,
                    last: from - 1,
                    before,
                    after,
                });
            }
            before = Some((range.last, range.last_ns));
            next = range.last.saturating_add(1);
        }
        if next <= last {
            let after = self.ranges.range(last..).find(|(from, _)| **from > last);
            let after = after.map(|(from, range)| (*from, range.first_ns));
            gaps.push(Gap {
                first: next,
                last,
                before,
                after,
            });
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn agrees_with_a_set_of_numbers() {
        // A fixed, rugged sequence; every number below 60 with two thirds of them present.
        let mut state = 7_u64;
        for round in 0..200 {
            let (mut set, mut numbers) = (RangeSet::default(), BTreeSet::new());
            for _ in 0..40 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(round);
                let number = 1 + (state >> 33) % 60;
                set.insert(number, i64::try_from(number * 10).unwrap());
                numbers.insert(number);
            }
            let (first, last) = (1 + (state >> 7) % 30, 31 + (state >> 9) % 30);
            let mut missing = BTreeSet::new();
            for gap in set.gaps(first, last) {
                assert!(gap.first <= gap.last);
                if let Some((before, time)) = gap.before {
                    assert!(numbers.contains(&before) && before < gap.first);
                    assert_eq!(time, i64::try_from(before * 10).unwrap());
                }
                if let Some((after, time)) = gap.after {
                    assert!(numbers.contains(&after) && after > gap.last);
                    assert_eq!(time, i64::try_from(after * 10).unwrap());
                }
                missing.extend(gap.first..=gap.last);
            }
            let expected: BTreeSet<u64> = (first..=last)
                .filter(|number| !numbers.contains(number))
                .collect();
            assert_eq!(missing, expected, "{first}..={last} of {numbers:?}");
            assert_eq!(
                set.count_within(first, last) as usize,
                numbers.range(first..=last).count()
            );
        }
    }

    #[test]
    fn a_million_numbers_are_one_range() {
        let mut set = RangeSet::default();
        (1..=1_000_000).for_each(|number| set.insert(number, 0));
        assert_eq!(set.ranges.len(), 1);
        assert_eq!(set.gaps(1, 1_000_000), []);
    }
}
