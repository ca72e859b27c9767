//! When a batch that is filling leaves.

use std::time::{Duration, Instant};

/// After a silence a batch leaves at once. After that one leaves in each interval, so that the number
/// of batches a second is bounded whatever the rate: what a batch costs is several times what one
/// more item in it costs. Under load the interval is longer, because fewer and larger batches are
/// what helps then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Between two batches that are not full.
    pub interval: Duration,
    /// The interval while [`Filling::is_loaded`].
    pub interval_loaded: Duration,
}

/// What is known of the batch that is filling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filling {
    /// It holds nothing.
    pub is_empty: bool,
    /// It holds as much as it may.
    pub is_full: bool,
    /// Nothing more will come.
    pub is_last: bool,
    /// What is behind it does not keep up, or the batch is large already.
    pub is_loaded: bool,
    /// When the batch before it left.
    pub previous_left: Option<Instant>,
}

/// What to do with the batch that is filling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It leaves.
    Now,
    /// It leaves at this time, unless it is full before.
    At(Instant),
    /// It waits for its first item.
    WhenFilled,
}

impl Batching {
    /// Decides.
    #[must_use]
    pub fn decide(&self, filling: &Filling, now: Instant) -> Leave {
        if filling.is_empty {
            return Leave::WhenFilled;
        }
        if filling.is_full || filling.is_last {
            return Leave::Now;
        }
        let interval = match filling.is_loaded {
            true => self.interval_loaded,
            false => self.interval,
        };
        match filling.previous_left.map(|left| left + interval) {
            Some(due) if due > now => Leave::At(due),
            _ => Leave::Now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_leaves_by_this_table() {
        let ms = Duration::from_millis;
        let batching = Batching {
            interval: ms(10),
            interval_loaded: ms(40),
        };
        let start = Instant::now();
        let now = start + ms(100);
        let left = |ms_ago| Some(now - ms(ms_ago));
        let at = |after_ms| Leave::At(now + ms(after_ms));
        //   empty  full   last   loaded previous      decision
        for (is_empty, is_full, is_last, is_loaded, previous_left, expected) in [
            (true, false, false, false, None, Leave::WhenFilled),
            (true, false, true, true, left(50), Leave::WhenFilled),
            (false, false, false, false, None, Leave::Now),
            (false, false, false, true, None, Leave::Now),
            (false, false, false, false, left(50), Leave::Now),
            (false, false, false, false, left(10), Leave::Now),
            (false, false, false, false, left(4), at(6)),
            (false, false, false, true, left(4), at(36)),
            (false, false, false, true, left(40), Leave::Now),
            (false, true, false, true, left(0), Leave::Now),
            (false, false, true, true, left(0), Leave::Now),
            (false, true, true, false, left(0), Leave::Now),
        ] {
            let filling = Filling {
                is_empty,
                is_full,
                is_last,
                is_loaded,
                previous_left,
            };
            assert_eq!(batching.decide(&filling, now), expected, "{filling:?}");
        }
    }

    /// A simulated second: items at these milliseconds, and when each batch leaves with how many.
    fn leaves(items: impl IntoIterator<Item = u64>, batching: Batching) -> Vec<(u64, u32)> {
        let start = Instant::now();
        let mut items = items.into_iter().peekable();
        let (mut filling, mut held, mut leaves) = (Filling::default(), 0, Vec::new());
        for ms in 0..1_000 {
            let now = start + Duration::from_millis(ms);
            while items.next_if(|at| *at <= ms).is_some() {
                held += 1;
            }
            filling.is_empty = held == 0;
            if batching.decide(&filling, now) == Leave::Now {
                leaves.push((ms, held));
                held = 0;
                filling.previous_left = Some(now);
            }
        }
        leaves
    }

    #[test]
    fn the_number_of_batches_a_second_is_bounded_and_a_lone_item_waits_for_nothing() {
        let batching = Batching {
            interval: Duration::from_millis(10),
            interval_loaded: Duration::from_millis(40),
        };
        assert_eq!(
            leaves([5, 300, 304], batching),
            [(5, 1), (300, 1), (310, 1)]
        );
        let busy = leaves(0..1_000, batching);
        assert_eq!((busy.len(), busy[1]), (100, (10, 10)));
        let none = Batching {
            interval: Duration::ZERO,
            interval_loaded: Duration::ZERO,
        };
        assert_eq!(leaves(0..1_000, none).len(), 1_000);
    }
}
