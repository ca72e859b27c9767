//! The window: what may be unconfirmed at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts unconfirmed events. The batch that fills it may overshoot it.
#[derive(Debug)]
pub struct Window {
    events_max: usize,
    held: Arc<Held>,
}

#[derive(Debug, Default)]
struct Held {
    events: AtomicUsize,
    batches: AtomicUsize,
}

/// A batch's place in the window, until it is dropped.
#[derive(Debug)]
pub struct Place {
    held: Arc<Held>,
    events: usize,
}

impl Window {
    pub fn new(events_max: usize) -> Self {
        Self {
            events_max,
            held: Arc::default(),
        }
    }

    pub fn has_room(&self) -> bool {
        self.held.events.load(Ordering::Relaxed) < self.events_max
    }

    pub fn batches(&self) -> usize {
        self.held.batches.load(Ordering::Relaxed)
    }

    /// Takes a place for this many events; `None` while the window is full.
    pub fn enter(&self, events: usize) -> Option<Place> {
        self.has_room().then(|| {
            self.held.events.fetch_add(events, Ordering::Relaxed);
            self.held.batches.fetch_add(1, Ordering::Relaxed);
            let held = Arc::clone(&self.held);
            Place { held, events }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.held.events.fetch_sub(self.events, Ordering::Relaxed);
        self.held.batches.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_batch_may_overshoot_and_a_place_is_given_back() {
        let window = Window::new(10);
        let first = window.enter(9);
        let second = window.enter(9);
        assert!(first.is_some() && second.is_some());
        assert!(!window.has_room() && window.enter(1).is_none());
        assert_eq!(window.batches(), 2);
        drop(first);
        assert!(window.has_room());
        assert_eq!(window.batches(), 1);
    }
}
