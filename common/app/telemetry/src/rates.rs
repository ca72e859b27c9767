//! Two rates of the last minutes, one value a second: what a page draws its line from.

use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Seconds kept.
const SAMPLES_MAX: usize = 180;

/// The rates; clones share them.
#[derive(Debug, Clone)]
pub struct Rates {
    names: [&'static str; 2],
    ring: Arc<Mutex<Ring>>,
}

#[derive(Debug, Default)]
struct Ring {
    before: Option<[u64; 2]>,
    samples: VecDeque<[u64; 2]>,
}

impl Ring {
    /// Takes totals, one second after those before.
    fn take(&mut self, totals: [u64; 2]) {
        let before = self.before.replace(totals).unwrap_or(totals);
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        let rise = |of: usize| totals[of].saturating_sub(before[of]);
        self.samples.push_back([rise(0), rise(1)]);
    }
}

impl Rates {
    /// No samples yet. The names stand in `/status`, such as `received_per_s`.
    #[must_use]
    pub fn new(names: [&'static str; 2]) -> Self {
        Self {
            names,
            ring: Arc::default(),
        }
    }

    /// Reads both totals once a second, for ever.
    pub async fn follow(self, totals: impl Fn() -> [u64; 2]) {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.lock().take(totals());
        }
    }

    /// `rates` of `/status`: for each name the last three minutes, the newest last.
    #[must_use]
    pub fn status(&self) -> Value {
        let ring = self.lock();
        let column = |of: usize| {
            ring.samples
                .iter()
                .map(|sample| sample[of].into())
                .collect()
        };
        let mut rates = Map::new();
        for (of, name) in self.names.into_iter().enumerate() {
            rates.insert(name.into(), Value::Array(column(of)));
        }
        rates.into()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_what_came_in_it_and_old_seconds_go() {
        let rates = Rates::new(["in_per_s", "out_per_s"]);
        rates.lock().take([7, 3]);
        rates.lock().take([17, 8]);
        // A total that falls is no rate.
        rates.lock().take([16, 9]);
        assert_eq!(
            rates.status(),
            serde_json::json!({"in_per_s": [0, 10, 0], "out_per_s": [0, 5, 1]})
        );
        for total in 0..400 {
            rates.lock().take([total, 0]);
        }
        assert_eq!(
            rates.status()["in_per_s"],
            Value::from(vec![1; SAMPLES_MAX])
        );
    }
}
