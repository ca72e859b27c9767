//! What bounds the memory of received messages: bytes, wherever the messages are.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Charged for each message besides its text: its place in the queues, its events and permits.
const MESSAGE_OVERHEAD_BYTES: usize = 256;

const ROOM_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The bytes that received messages may take.
#[derive(Debug, Clone)]
pub(crate) struct QueueBytes {
    free: Arc<Semaphore>,
    bytes_max: u32,
    /// For a message larger than everything: it would otherwise only be let in while the queue is
    /// empty, and a home whose `get_states` is that large could never be read. One at a time.
    oversized: Arc<Semaphore>,
}

/// A message's share of the queue, given back when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct QueuePermit {
    _share: Arc<OwnedSemaphorePermit>,
}

impl QueueBytes {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX).max(1);
        Self {
            free: Arc::new(Semaphore::new(bytes_max as usize)),
            bytes_max,
            oversized: Arc::new(Semaphore::new(1)),
        }
    }

    /// The share for a message of this size, or `None` where the queue is full. Never waits.
    pub(crate) fn share(&self, message_bytes: usize) -> Option<QueuePermit> {
        let charged = message_bytes.saturating_add(MESSAGE_OVERHEAD_BYTES);
        let share = match u32::try_from(charged) {
            Ok(bytes) if bytes <= self.bytes_max => {
                Arc::clone(&self.free).try_acquire_many_owned(bytes)
            }
            _ => Arc::clone(&self.oversized).try_acquire_owned(),
        };
        share.ok().map(|share| QueuePermit {
            _share: Arc::new(share),
        })
    }

    /// Waits until half of the bytes are free, so that a new session does not end at once for the
    /// same reason as the last.
    pub(crate) async fn half_free(&self) {
        // Not by waiting in the semaphore's line: that takes whatever is free meanwhile, and
        // `used_bytes` would show a full queue.
        while self.free.available_permits() < (self.bytes_max as usize).div_ceil(2) {
            tokio::time::sleep(ROOM_CHECK_INTERVAL).await;
        }
    }

    pub(crate) fn used_bytes(&self) -> usize {
        (self.bytes_max as usize).saturating_sub(self.free.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shares_are_given_back_with_the_last_clone() {
        let queue = QueueBytes::new(1000);
        let first = queue.share(600).unwrap();
        let second = first.clone();
        assert!(queue.share(600).is_none());
        assert_eq!(queue.used_bytes(), 856);
        drop(first);
        assert!(queue.share(600).is_none());
        drop(second);
        queue.half_free().await;
        assert!(queue.share(600).is_some());
        assert_eq!(queue.used_bytes(), 0);
    }

    #[test]
    fn one_message_larger_than_everything_gets_in() {
        let queue = QueueBytes::new(1000);
        let small = queue.share(1).unwrap();
        let large = queue.share(5000).unwrap();
        assert!(queue.share(5000).is_none(), "one at a time");
        assert!(queue.share(1).is_some(), "and it does not keep others out");
        drop((small, large));
        assert!(queue.share(5000).is_some());
    }
}
