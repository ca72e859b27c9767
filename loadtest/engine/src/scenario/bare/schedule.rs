//! Which batch is due when. Pure.

use std::time::{Duration, Instant};

/// Batches one after the other, again and again, at a rate of events or as fast as they go.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    sizes: Vec<u32>,
    /// Events of the sample before each batch and with it.
    upto: Vec<u64>,
    begun: Instant,
    rate: Option<f64>,
}

impl Schedule {
    /// Of batches of these sizes; without a rate everything is due at once.
    pub(super) fn new(sizes: Vec<u32>, rate: Option<f64>) -> Self {
        let mut sum = 0;
        let upto = sizes.iter().map(|size| {
            sum += u64::from(*size);
            sum
        });
        Self {
            upto: upto.collect(),
            sizes,
            begun: Instant::now(),
            rate,
        }
    }

    /// The time begins this much later than now.
    pub(super) fn begin_in(&mut self, time: Duration) {
        self.begun = Instant::now() + time;
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Its place in the sample.
    pub(super) fn place(&self, number: u64) -> usize {
        (number % self.sizes.len().max(1) as u64) as usize
    }

    /// Events in the batch of this number, from 0 on.
    pub(super) fn events(&self, number: u64) -> u32 {
        self.sizes[self.place(number)]
    }

    /// Events of all batches up to this one.
    pub(super) fn events_upto(&self, number: u64) -> u64 {
        let passes = number / self.sizes.len().max(1) as u64;
        let of_a_pass = self.upto.last().copied().unwrap_or_default();
        passes * of_a_pass + self.upto[self.place(number)]
    }

    /// When the last of its events is due: a batch cannot leave before.
    pub(super) fn due(&self, number: u64) -> Instant {
        match self.rate {
            None => self.begun,
            Some(rate) => {
                let seconds = self.events_upto(number) as f64 / rate;
                self.begun + Duration::from_secs_f64(seconds)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_due_when_its_last_event_is() {
        let schedule = Schedule::new(vec![3, 1, 6], Some(10.0));
        let seconds = |number| (schedule.due(number) - schedule.begun()).as_secs_f64();
        let dues: Vec<f64> = (0..5).map(seconds).collect();
        assert_eq!(dues, [0.3, 0.4, 1.0, 1.3, 1.4]);
        let events: Vec<u32> = (0..5).map(|number| schedule.events(number)).collect();
        assert_eq!(events, [3, 1, 6, 3, 1]);
        assert_eq!(schedule.events_upto(5), 20);
    }
}
