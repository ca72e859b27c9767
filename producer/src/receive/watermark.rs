//! How far the stream is safe: the source time of the oldest event that was received and is
//! neither confirmed nor spooled. After a gap, history is fetched from here. Pure.

use std::collections::BTreeMap;

/// How far back history is read when the stored mark cannot be believed.
pub const REACH_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// How far an event moves the mark, nanoseconds: to its source time, but never past the time of its
/// reception. An event dated later says that a clock is wrong; a mark in the future would let
/// everything until then count as received.
#[must_use]
pub fn reached_ns(source_time_ns: i64, received_at_ns: i64) -> i64 {
    source_time_ns.min(received_at_ns)
}

/// The mark of an earlier run, if it can be true. One later than now cannot: the mark never passes
/// the time of reception, so a clock has stepped since. Then the reach behind now is read instead.
#[must_use]
pub fn believed_ns(mark_ns: i64, now_ns: i64) -> i64 {
    if mark_ns > now_ns {
        now_ns - REACH_NS
    } else {
        mark_ns
    }
}

/// Source times are nanoseconds since the epoch, by Home Assistant's clock.
#[derive(Debug, Default)]
pub struct Watermark {
    /// Oldest source times of the batches under way, with how many batches share each.
    under_way: BTreeMap<i64, u32>,
    newest_safe_ns: Option<i64>,
    /// When the first connection stood, by our own clock: the mark until an event has one by Home
    /// Assistant's.
    connected_ns: Option<i64>,
    /// While a gap is not filled, the mark stays at its beginning.
    gap_from_ns: Option<i64>,
}

impl Watermark {
    /// Goes on from the mark of an earlier run: what happened since is a gap.
    #[must_use]
    pub fn resume(mark_ns: Option<i64>) -> Self {
        Self {
            gap_from_ns: mark_ns,
            newest_safe_ns: mark_ns,
            ..Self::default()
        }
    }

    /// A batch was handed to the router.
    pub fn under_way(&mut self, oldest_ns: i64) {
        *self.under_way.entry(oldest_ns).or_default() += 1;
    }

    /// That batch is safe.
    pub fn safe(&mut self, oldest_ns: i64, newest_ns: i64) {
        if let Some(batches) = self.under_way.get_mut(&oldest_ns) {
            *batches -= 1;
            if *batches == 0 {
                self.under_way.remove(&oldest_ns);
            }
        }
        self.newest_safe_ns = self.newest_safe_ns.max(Some(newest_ns));
    }

    /// The mark. `open_ns` is the oldest event that is in no batch yet.
    #[must_use]
    pub fn mark_ns(&self, open_ns: Option<i64>) -> Option<i64> {
        let unsafe_ns = self
            .under_way
            .keys()
            .next()
            .copied()
            .into_iter()
            .chain(open_ns)
            .min();
        let reached = unsafe_ns.or(self.newest_safe_ns).or(self.connected_ns);
        match (self.gap_from_ns, reached) {
            (Some(gap), Some(reached)) => Some(gap.min(reached)),
            (gap, reached) => gap.or(reached),
        }
    }

    /// The connection stands. If nothing was ever received, what is missing after it breaks begins
    /// here, by our own clock.
    pub fn connected(&mut self, now_ns: i64) {
        self.connected_ns.get_or_insert(now_ns);
    }

    /// The connection is gone: from here on something may be missing.
    pub fn gap_begins(&mut self, open_ns: Option<i64>) {
        self.gap_from_ns = self.mark_ns(open_ns);
    }

    /// Where the gap that is not filled begins.
    #[must_use]
    pub fn gap_from_ns(&self) -> Option<i64> {
        self.gap_from_ns
    }

    /// Everything that history had of the gap is under way or safe.
    pub fn gap_filled(&mut self) {
        self.gap_from_ns = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_mark_is_the_oldest_unsafe_event_and_stays_at_a_gap() {
        let mut watermark = Watermark::resume(None);
        assert_eq!(watermark.mark_ns(None), None);
        assert_eq!(watermark.mark_ns(Some(5)), Some(5));
        watermark.under_way(5);
        watermark.under_way(8);
        watermark.under_way(5);
        watermark.safe(8, 9);
        assert_eq!(watermark.mark_ns(None), Some(5));
        watermark.safe(5, 6);
        assert_eq!(watermark.mark_ns(None), Some(5));
        watermark.safe(5, 7);
        assert_eq!(watermark.mark_ns(None), Some(9));

        watermark.gap_begins(None);
        watermark.under_way(20);
        watermark.safe(20, 21);
        assert_eq!(
            watermark.mark_ns(None),
            Some(9),
            "later events do not hide the gap"
        );
        watermark.gap_begins(None);
        assert_eq!(
            watermark.gap_from_ns(),
            Some(9),
            "a second gap does not hide the first"
        );
        watermark.gap_filled();
        assert_eq!(watermark.mark_ns(None), Some(21));
    }

    #[test]
    fn a_home_where_nothing_happened_yet_has_a_beginning() {
        let mut watermark = Watermark::resume(None);
        watermark.connected(100);
        watermark.gap_begins(None);
        assert_eq!(watermark.gap_from_ns(), Some(100));
        watermark.connected(200);
        assert_eq!(watermark.mark_ns(None), Some(100));
    }

    #[test]
    fn our_own_clock_counts_only_until_an_event_came() {
        // Home Assistant's clock is behind ours: at 100 here it is 40 there.
        let mut watermark = Watermark::resume(None);
        watermark.connected(100);
        watermark.under_way(40);
        watermark.safe(40, 41);
        watermark.gap_begins(None);
        assert_eq!(watermark.gap_from_ns(), Some(41));
    }

    proptest! {
        #[test]
        fn no_event_moves_the_mark_past_its_reception(
            events in proptest::collection::vec((any::<i64>(), 0..1_000_000_000_i64), 1..20),
        ) {
            let mut watermark = Watermark::resume(None);
            let latest = events.iter().map(|(_, received)| *received).max();
            for (source, received) in events {
                let reached = reached_ns(source, received);
                watermark.under_way(reached);
                watermark.safe(reached, reached);
                prop_assert!(watermark.mark_ns(None) <= latest);
            }
        }

        #[test]
        fn a_stored_mark_is_never_believed_to_be_later_than_now(mark in any::<i64>(), now in 0..i64::MAX) {
            let believed = believed_ns(mark, now);
            prop_assert!(believed <= now);
            prop_assert_eq!(believed == mark, mark <= now);
        }
    }

    #[test]
    fn an_earlier_run_leaves_a_gap() {
        let watermark = Watermark::resume(Some(7));
        assert_eq!(
            (watermark.gap_from_ns(), watermark.mark_ns(Some(30))),
            (Some(7), Some(7))
        );
    }
}
