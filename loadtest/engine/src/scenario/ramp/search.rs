//! Which rate to try next. Pure.

/// Of a rate that does not hold.
pub(super) const TRIES: u32 = 3;

/// Twice as much until one does not hold, then between the last two.
///
/// A rate that does not hold is tried again, [`TRIES`] times in all: one pause of the database, or of
/// its disk, is all that a step of seconds needs to fail.
#[derive(Debug)]
pub(super) struct Search {
    next: Option<f64>,
    holds: Option<f64>,
    too_much: Option<f64>,
    /// How often the rate to try has failed.
    failures: u32,
    max: f64,
    precision: f64,
}

impl Search {
    /// From `first`, never above `max`, until the least rate that does not hold is at most
    /// `precision` times the highest that does.
    pub(super) fn new(first: f64, max: f64, precision: f64) -> Self {
        Self {
            next: Some(first.min(max)),
            holds: None,
            too_much: None,
            failures: 0,
            max,
            precision,
        }
    }

    /// The rate to try.
    pub(super) fn next(&self) -> Option<f64> {
        self.next
    }

    /// What became of it.
    pub(super) fn tell(&mut self, rate: f64, holds: bool) {
        if !holds {
            self.failures += 1;
            if self.failures < TRIES {
                return;
            }
        }
        self.failures = 0;
        if holds {
            self.holds = Some(self.holds.map_or(rate, |best| best.max(rate)));
        } else {
            self.too_much = Some(self.too_much.map_or(rate, |least| least.min(rate)));
        }
        self.next = match (self.holds, self.too_much) {
            (Some(best), None) if best < self.max => Some((best * 2.0).min(self.max)),
            (Some(best), Some(least)) if least > best * self.precision => {
                // Whole rates: between three and four there is none.
                let between = (best * least).sqrt().round();
                (between > best && between < least).then_some(between)
            }
            // One event a second that does not hold is an answer, too.
            (None, Some(least)) if least > 1.0 => Some((least / 2.0).max(1.0)),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The highest rate that was found to hold, and how many were tried.
    fn found(limit: f64, first: f64, max: f64) -> (Option<f64>, usize) {
        let (mut search, mut tried) = (Search::new(first, max, 1.1), 0);
        while let Some(rate) = search.next() {
            search.tell(rate, rate <= limit);
            tried += 1;
            assert!(tried < 50, "it does not end");
        }
        (search.holds, tried)
    }

    #[test]
    fn the_highest_rate_is_found_from_below_and_from_above() {
        for first in [100.0, 1_000.0, 30_000.0] {
            for limit in [40.0, 999.0, 12_345.0] {
                let best = found(limit, first, 200_000.0).0.unwrap();
                assert!(
                    best <= limit && best * 1.1 >= limit * 0.98,
                    "{best} of {limit}"
                );
            }
        }
    }

    #[test]
    fn it_ends_at_its_limits() {
        assert_eq!(found(1e9, 1_000.0, 4_000.0), (Some(4_000.0), 3));
        assert_eq!(found(0.5, 4.0, 4_000.0), (None, 3 * TRIES as usize));
        // Between whole rates, and where the first one failed by chance.
        assert_eq!(found(3.5, 4.0, 4_000.0).0, Some(3.0));
        let mut search = Search::new(100.0, 200.0, 1.1);
        for _ in 0..TRIES {
            assert_eq!(search.next(), Some(100.0));
            search.tell(100.0, false);
        }
        search.tell(50.0, true);
        let mut tried = 0;
        while let Some(rate) = search.next() {
            search.tell(rate, true);
            tried += 1;
        }
        assert!(tried < 20 && search.holds >= Some(90.0), "{search:?}");
    }
}
