//! Which deliveries may be acknowledged: the one place that decides it.

use std::collections::VecDeque;

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

#[cfg(test)]
mod tests {
    use super::*;

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
