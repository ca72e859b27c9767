//! Waiting until nothing is left to do, so that one measurement does not pay for another.

use std::time::{Duration, Instant};

use loadtest_report::Role;

use crate::harness::Harness;

const POLL: Duration = Duration::from_millis(250);
/// Processors that broker and database use while they rest.
const RESTING: f64 = 0.1;
const REST_MAX: Duration = Duration::from_secs(15);

impl Harness {
    /// Waits until broker and database have finished what they do behind the events' backs (segments,
    /// compactions). Returns at once where they are not the run's own.
    pub async fn at_rest(&self) {
        let used = || {
            self.usage.sample();
            let roles = [Role::Broker, Role::Database].into_iter();
            let used = roles.filter_map(|role| Some(self.usage.of(role)?.cpu_s));
            used.reduce(|a, b| a + b)
        };
        let (begun, mut before) = (Instant::now(), used());
        while let Some(used_before) = before
            && begun.elapsed() < REST_MAX
        {
            let looked = Instant::now();
            tokio::time::sleep(POLL).await;
            before = used();
            let used = before.unwrap_or_default() - used_before;
            if used <= RESTING * looked.elapsed().as_secs_f64() {
                return;
            }
        }
    }
}
