//! Deliveries that are held, and how long settling them has taken so far.

use metrics::Gauge;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What one queue's consumer has done since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Drained {
    /// Messages delivered and not acknowledged.
    pub held: usize,
    /// Messages acknowledged.
    pub settled: u64,
    /// How long it held any.
    pub busy: Duration,
}

/// Counts them; clones share the counts. One a queue.
#[derive(Debug, Clone)]
pub struct InFlight {
    gauge: Gauge,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    drained: Drained,
    busy_since: Option<Instant>,
}

impl Counts {
    fn observe(&mut self, now: Instant, held: usize, settled: u64) {
        self.drained.settled += settled;
        self.drained.held = held;
        if held > 0 {
            self.busy_since.get_or_insert(now);
        } else if let Some(since) = self.busy_since.take() {
            self.drained.busy += now - since;
        }
    }

    fn at(&self, now: Instant) -> Drained {
        let under_way = self.busy_since.map_or(Duration::ZERO, |since| now - since);
        Drained {
            busy: self.drained.busy + under_way,
            ..self.drained
        }
    }
}

impl InFlight {
    /// Of a queue; nothing is held.
    #[must_use]
    pub fn of(queue: &'static str) -> Self {
        let gauge = metrics::gauge!("ha_ingestor_deliveries_in_flight", "queue" => queue);
        gauge.set(0.0);
        Self {
            gauge,
            counts: Arc::default(),
        }
    }

    /// Takes the number held now, and the number acknowledged since the last call.
    pub fn observe(&self, held: usize, settled: u64) {
        self.gauge.set(held as f64);
        self.counts().observe(Instant::now(), held, settled);
    }

    /// The counts as of now.
    #[must_use]
    pub fn drained(&self, now: Instant) -> Drained {
        self.counts().at(now)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_in_which_something_is_held_counts() {
        let (began, mut counts) = (Instant::now(), Counts::default());
        let at = |seconds| began + Duration::from_secs(seconds);
        counts.observe(at(10), 5, 0);
        counts.observe(at(11), 3, 2);
        assert_eq!(counts.at(at(12)).busy, Duration::from_secs(2));
        counts.observe(at(13), 0, 3);
        counts.observe(at(20), 0, 0);
        let expected = Drained {
            held: 0,
            settled: 5,
            busy: Duration::from_secs(3),
        };
        assert_eq!(counts.at(at(30)), expected);
    }
}
