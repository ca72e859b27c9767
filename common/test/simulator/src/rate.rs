//! Open-loop pacing: how many events are due is a matter of the clock alone.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    home::{Home, SLICE_EVENTS},
    replay::Replay,
};

const TICK: Duration = Duration::from_millis(1);
/// Below this many events a second the clock is read seldom: hundreds of homes that looked a
/// thousand times a second would be a load of their own.
const SLOW_RATE: f64 = 50.0;
const SLOW_TICK: Duration = Duration::from_millis(10);

fn every(period: Duration) -> Interval {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tick
}

/// Where the events come from.
pub(crate) enum Feed {
    House,
    Replay(Replay),
}

/// Fires at `rate` (the bits of an `f64`, events per second) until `duration` is over, the replay
/// ends, or `stop`. Returns how many events were fired.
pub(crate) async fn pace(
    home: &Home,
    mut feed: Feed,
    rate: &AtomicU64,
    duration: Option<Duration>,
    stop: &CancellationToken,
) -> u64 {
    let start = Instant::now();
    let end = duration.map(|duration| start + duration);
    let mut schedule = Schedule::new(start, f64::from_bits(rate.load(Ordering::Acquire)));
    let mut tick = every(TICK);
    let mut fired = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return fired,
            _ = tick.tick() => {}
        }
        let now = Instant::now();
        let over = end.is_some_and(|end| now >= end);
        let now = end.map_or(now, |end| now.min(end));
        schedule.set_rate(
            now,
            f64::from_bits(rate.load(Ordering::Acquire)),
            home.is_running(),
        );
        let due = match &feed {
            Feed::House => schedule.due(now),
            Feed::Replay(replay) => {
                let paced = replay.due(now.saturating_duration_since(start));
                paced.unwrap_or_else(|| schedule.due(now))
            }
        };
        while fired < due && home.is_running() {
            let count = (due - fired).min(SLICE_EVENTS);
            fired += match &mut feed {
                Feed::House => {
                    home.fire(count);
                    count
                }
                Feed::Replay(replay) => {
                    let replayed = home.replay(replay, count);
                    if replayed < count {
                        return fired + replayed;
                    }
                    replayed
                }
            };
            // Not to wait for the clients, but to let the writers run beside a big backlog.
            tokio::task::yield_now().await;
        }
        if over || matches!(&feed, Feed::Replay(replay) if replay.is_over()) {
            return fired;
        }
        let rate = f64::from_bits(rate.load(Ordering::Acquire));
        let period = match &feed {
            Feed::House if rate < SLOW_RATE => SLOW_TICK,
            _ => TICK,
        };
        if tick.period() != period {
            tick = every(period);
        }
    }
}

/// The number of events due at an instant, over changes of the rate.
struct Schedule {
    since: Instant,
    /// Events due at `since`.
    base: f64,
    rate: f64,
}

impl Schedule {
    fn new(since: Instant, rate: f64) -> Self {
        Self {
            since,
            base: 0.0,
            rate: rate.max(0.0),
        }
    }

    fn due_exactly(&self, now: Instant) -> f64 {
        self.base + self.rate * now.saturating_duration_since(self.since).as_secs_f64()
    }

    fn due(&self, now: Instant) -> u64 {
        // The nudge takes back what floating point loses when the product is a whole number.
        (self.due_exactly(now) + 1e-6).floor() as u64
    }

    /// From `now` on `rate` events a second, none while not running.
    fn set_rate(&mut self, now: Instant, rate: f64, running: bool) {
        let rate = if running && rate.is_finite() {
            rate.max(0.0)
        } else {
            0.0
        };
        if (rate - self.rate).abs() > f64::EPSILON {
            self.base = self.due_exactly(now);
            self.since = now;
            self.rate = rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_follows_the_clock_and_the_rate() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut schedule = Schedule::new(start, 1_000.0);
        assert_eq!(schedule.due(start), 0);
        assert_eq!(schedule.due(at(7)), 7);
        schedule.set_rate(at(10), 1_000.0, true);
        assert_eq!(schedule.due(at(2_000)), 2_000);
        schedule.set_rate(at(2_000), 1_000.0, false);
        assert_eq!(schedule.due(at(9_000)), 2_000);
        schedule.set_rate(at(9_000), 20_000.0, true);
        assert_eq!(schedule.due(at(9_100)), 4_000);
        for rate in [3.0, 7.7, 333.3, 12_345.0] {
            let seconds = 60;
            let expected = (rate * f64::from(seconds) + 1e-6) as u64;
            assert_eq!(
                Schedule::new(start, rate).due(at(1_000 * u64::from(seconds as u32))),
                expected
            );
        }
    }
}
