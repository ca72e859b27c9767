//! Which deliveries may be acknowledged, and how often after a cancel. In which phase of a shutdown
//! none are is `consume`'s.

use ha_broker::ACKNOWLEDGEMENTS_AFTER_CANCEL_MAX;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Deliveries of one channel that are not acknowledged, in their order. Delivery tags of a channel
/// rise by one, so a tag's place is its distance from the first.
#[derive(Debug, Default)]
pub struct Unacknowledged {
    first_tag: u64,
    settled: VecDeque<bool>,
    acknowledged: u64,
}

impl Unacknowledged {
    /// A delivery arrived.
    pub fn delivered(&mut self, tag: u64) {
        if self.settled.is_empty() {
            self.first_tag = tag;
        }
        self.settled.push_back(false);
    }

    /// Every event of a delivery is stored or a dead letter.
    pub fn settle(&mut self, tag: u64) {
        let place = tag
            .checked_sub(self.first_tag)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(settled) = place.and_then(|place| self.settled.get_mut(place)) {
            *settled = true;
        }
    }

    /// The tag up to which everything is settled, if that is further than the last time:
    /// acknowledging it with `multiple` acknowledges nothing that is not.
    pub fn acknowledge_up_to(&mut self) -> Option<u64> {
        let count = self.settled.iter().take_while(|settled| **settled).count();
        if count == 0 {
            return None;
        }
        self.settled.drain(..count);
        self.first_tag += count as u64;
        self.acknowledged += count as u64;
        Some(self.first_tag - 1)
    }

    /// Deliveries that were said to be acknowledged since this was asked the last time.
    pub fn take_acknowledged(&mut self) -> u64 {
        std::mem::take(&mut self.acknowledged)
    }

    /// Deliveries held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.settled.len()
    }
}

/// When acknowledgements are sent after the consumer was cancelled: a few, spread over the time that
/// is left, so that the broker keeps none of them back
/// ([`Subscription::cancel`](ha_broker::Subscription::cancel)) and a process that is killed before
/// its end has acknowledged most.
#[derive(Debug)]
pub struct LastAcknowledgements {
    spacing: Duration,
    next_at: Instant,
}

impl LastAcknowledgements {
    /// Spreads them over this time from `now` on. One more, at the very end, is always allowed.
    #[must_use]
    pub fn over(time: Duration, now: Instant) -> Self {
        let parts = u32::try_from(ACKNOWLEDGEMENTS_AFTER_CANCEL_MAX).unwrap_or(u32::MAX);
        Self {
            // One at the beginning, one at the end, the others between.
            spacing: time / parts.saturating_sub(2).max(1),
            next_at: now,
        }
    }

    /// Whether one may be sent now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next_at
    }

    /// One was sent.
    pub fn sent(&mut self, now: Instant) {
        self.next_at = now + self.spacing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_acknowledgements_are_few_however_many_are_wanted() {
        for grace_ms in [1, 1_000, 25_000, 3_600_000] {
            let grace = Duration::from_millis(grace_ms);
            let began = Instant::now();
            let mut last = LastAcknowledgements::over(grace, began);
            let mut sent = Vec::new();
            // Something is settled a thousand times in that time.
            for step in 0..=1_000 {
                let now = began + grace * step / 1_000;
                if last.is_due(now) {
                    last.sent(now);
                    sent.push(step);
                }
            }
            assert_eq!(sent[0], 0, "what was held back is not held back longer");
            let at_the_end = 1;
            assert!(sent.len() > 10, "{sent:?}");
            assert!(
                sent.len() + at_the_end <= ACKNOWLEDGEMENTS_AFTER_CANCEL_MAX,
                "{sent:?}"
            );
        }
    }

    #[test]
    fn only_the_settled_beginning_is_acknowledged() {
        let mut deliveries = Unacknowledged::default();
        (1..=5).for_each(|tag| deliveries.delivered(tag));
        deliveries.settle(2);
        deliveries.settle(3);
        assert_eq!(deliveries.acknowledge_up_to(), None);
        deliveries.settle(1);
        assert_eq!(deliveries.acknowledge_up_to(), Some(3));
        assert_eq!(deliveries.acknowledge_up_to(), None);
        deliveries.settle(3);
        deliveries.settle(99);
        deliveries.settle(5);
        deliveries.settle(4);
        assert_eq!(deliveries.acknowledge_up_to(), Some(5));
        assert_eq!(deliveries.len(), 0);
        deliveries.delivered(6);
        deliveries.settle(6);
        assert_eq!(deliveries.acknowledge_up_to(), Some(6));
    }
}
