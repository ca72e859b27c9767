//! How long what waits will take: `backlog_seconds`. Pure but for the loop at the end.

use crate::run::in_flight::{Drained, InFlight};
use ha_broker::Depths;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The drain rate is measured over this time, some three answers of the broker: in less, chance has
/// a large part in it; more, and it is long that of another time (workers that were starting).
const WINDOW: Duration = Duration::from_secs(6);
/// The broker is asked seldomer: in between, the time that has passed is taken off. A figure of two
/// seconds ago is far off when five are left.
const REFRESH: Duration = Duration::from_millis(250);

/// The estimate and what it is made of.
///
/// A worker knows how many messages are ready, how many workers share them, and how fast it is
/// itself; it takes the others for as fast, but the queue for no slower than it was seen to shrink:
/// a slow worker among fast ones would speak of its own share only. Its rate is what it settled over
/// the time in which it held anything: a worker that waits for events is not slow.
#[derive(Debug, Default)]
pub struct Backlog {
    window: VecDeque<Seen>,
    /// Messages that were this worker's to settle when the broker was asked last.
    share: f64,
    /// Seconds a message of this worker's share, by how the queue shrank.
    seen_each: Option<f64>,
    seconds: f64,
}

/// What was known when the broker answered.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    /// Messages ready or held, if every worker holds as many as this one.
    waiting: f64,
    drained: Drained,
}

impl Backlog {
    /// Takes what is known now; seconds until everything is settled if nothing more came. While
    /// nothing is settled and something waits, the figure rises by at least a second a second: no
    /// rate says when, and it will not have been sooner.
    pub fn observe(&mut self, now: Instant, ready: u32, consumers: u32, drained: Drained) -> f64 {
        let consumers = f64::from(consumers.max(1));
        let share = f64::from(ready) / consumers + drained.held as f64;
        let seen = Seen {
            at: now,
            waiting: share * consumers,
            drained,
        };
        let last = self.window.back().copied().unwrap_or(seen);
        self.window.push_back(seen);
        while self.window.len() > 2 && now - self.window[1].at >= WINDOW {
            self.window.pop_front();
        }
        self.seen_each = self.shrinking().map(|rate| consumers / rate);
        let estimate = share * self.each(drained).unwrap_or_default();
        self.share = share;
        self.seconds = if share == 0.0 {
            0.0
        } else if drained.settled > last.drained.settled {
            estimate
        } else {
            estimate.max(self.seconds + (now - last.at).as_secs_f64())
        };
        self.seconds
    }

    /// Messages a second by which fewer wait than when most did. More of them were settled, where
    /// some came meanwhile.
    fn shrinking(&self) -> Option<f64> {
        let now = self.window.back()?;
        let longest = self.window.iter();
        let longest = longest.max_by(|one, other| one.waiting.total_cmp(&other.waiting))?;
        let seconds = (now.at - longest.at).as_secs_f64();
        let fewer = longest.waiting - now.waiting;
        (fewer > 0.0 && seconds > 0.0).then(|| fewer / seconds)
    }

    /// Seconds a message of this worker's share; `None` while none was settled.
    fn each(&self, drained: Drained) -> Option<f64> {
        let first = self.window.front().map_or(drained, |seen| seen.drained);
        let own = seconds_each(first, drained)?;
        Some(self.seen_each.map_or(own, |seen| seen.min(own)))
    }

    /// Whether anything waited when the broker was asked last.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.share > 0.0
    }

    /// The figure between two answers of the broker: sooner by the time that has passed, where this
    /// worker has settled anything since.
    #[must_use]
    pub fn between(&self, now: Instant, drained: Drained) -> f64 {
        let Some(last) = self.window.back() else {
            return self.seconds;
        };
        if !self.waits() {
            return 0.0;
        }
        let settled = drained.settled.saturating_sub(last.drained.settled);
        match self.each(drained) {
            Some(each) if settled > 0 => {
                let left = self.share * each - (now - last.at).as_secs_f64();
                left.max(drained.held as f64 * each)
            }
            _ => self.seconds + (now - last.at).as_secs_f64(),
        }
    }
}

/// Of a message, over the time in which any was held; `None` while none was settled.
fn seconds_each(first: Drained, last: Drained) -> Option<f64> {
    let settled = last.settled.saturating_sub(first.settled);
    let busy = last.busy.saturating_sub(first.busy).as_secs_f64();
    (settled > 0).then(|| busy / settled as f64)
}

/// Keeps the gauge and `seconds` fresh for as long as the broker is asked. While it does not
/// answer, the figure stays: nothing new is known.
pub async fn follow(
    mut depths: watch::Receiver<Option<Depths>>,
    in_flight: InFlight,
    seconds: watch::Sender<f64>,
) {
    let gauge = metrics::gauge!("ha_ingestor_backlog_seconds");
    gauge.set(0.0);
    let mut backlog = Backlog::default();
    loop {
        // Where nothing waits there is nothing to take off, and no reason to wake.
        let refreshing = async {
            match backlog.waits() {
                true => tokio::time::sleep(REFRESH).await,
                false => std::future::pending().await,
            }
        };
        let asked = tokio::select! {
            changed = depths.changed() => match changed {
                Ok(()) => *depths.borrow_and_update(),
                Err(_) => return,
            },
            () = refreshing => None,
        };
        // The broker does not answer, or has never been asked.
        if depths.borrow().is_none() {
            continue;
        }
        let now = Instant::now();
        let drained = in_flight.drained(now);
        let found = match asked {
            Some(depths) => backlog.observe(now, depths.events, depths.consumers, drained),
            None => backlog.between(now, drained),
        };
        gauge.set(found);
        seconds.send_replace(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(held: usize, settled: u64, busy_s: f64) -> Drained {
        Drained {
            held,
            settled,
            busy: Duration::from_secs_f64(busy_s),
        }
    }

    fn after(began: Instant, seconds: f64) -> Instant {
        began + Duration::from_secs_f64(seconds)
    }

    /// What a worker finds out at a second of a drain, and what the truth is.
    struct Look {
        ready: u32,
        own: Drained,
        truth: f64,
    }

    /// Every two seconds of so many the broker answers: from a second on the figure is off by less
    /// than this share of the truth.
    fn assert_near(
        seconds: u32,
        consumers: u32,
        from: u32,
        share: f64,
        look: impl Fn(u32) -> Look,
    ) {
        let (began, mut backlog) = (Instant::now(), Backlog::default());
        for second in (0..seconds).step_by(2) {
            let Look { ready, own, truth } = look(second);
            let found = backlog.observe(after(began, second.into()), ready, consumers, own);
            if second >= from {
                let off = (found / truth - 1.0).abs();
                assert!(off < share, "second {second}: {found} s, not {truth} s");
            }
        }
    }

    /// Three workers at 40 messages a second each, of which this is one, and 12,000 messages.
    #[test]
    fn the_figure_is_what_it_will_take() {
        assert_near(100, 3, 2, 0.25, |second| {
            let left = 12_000 - 120 * second;
            let held = left.min(600) / 3;
            Look {
                ready: left.max(600) - 600,
                own: drained(held as usize, 40 * u64::from(second), second.into()),
                truth: f64::from(left) / 120.0,
            }
        });
    }

    /// This one settles 10 a second and the other 90, until 10,000 messages are gone.
    #[test]
    fn a_slow_worker_speaks_of_the_queue_and_not_of_itself() {
        assert_near(90, 2, 2, 0.1, |second| {
            let left = 10_000 - 100 * second;
            Look {
                ready: left,
                own: drained(0, 10 * u64::from(second), second.into()),
                truth: f64::from(left) / 100.0,
            }
        });
    }

    /// Four workers that take four seconds until they run as fast as they can.
    #[test]
    fn a_slow_start_is_soon_forgotten() {
        assert_near(30, 4, 10, 0.25, |second| {
            let settled = 60 * second.min(4) + 240 * second.saturating_sub(4);
            let left = 7_200 - settled;
            Look {
                ready: left - 400,
                own: drained(100, u64::from(settled / 4), second.into()),
                truth: f64::from(left) / 240.0,
            }
        });
    }

    #[test]
    fn it_rises_while_nothing_is_settled_and_falls_when_that_is_over() {
        let (began, mut backlog) = (Instant::now(), Backlog::default());
        backlog.observe(began, 1_000, 1, drained(0, 0, 0.0));
        let steady = backlog.observe(after(began, 2.0), 900, 1, drained(0, 100, 2.0));
        assert_eq!(steady, 18.0);
        let mut before = steady;
        for second in (4..200).step_by(2) {
            // Also without a consumer, and holding nothing, as while the database is away.
            let (consumers, held, busy_s) = if second < 100 {
                (1, 50, second as f64)
            } else {
                (0, 0, 100.0)
            };
            let now = after(began, f64::from(second));
            let found = backlog.observe(
                now,
                900 - held as u32,
                consumers,
                drained(held, 100, busy_s),
            );
            assert!(found >= before + 2.0, "{found} after {before}");
            before = found;
        }
        for second in (200..240).step_by(2) {
            let settled = 100 + 100 * (u64::try_from(second).unwrap() - 198) / 2;
            let now = after(began, f64::from(second));
            before = backlog.observe(now, 500, 1, drained(0, settled, f64::from(second) - 98.0));
        }
        assert_eq!(before, 10.0, "as if there had been no outage");
    }

    #[test]
    fn between_two_answers_what_was_settled_is_taken_off() {
        let (began, mut backlog) = (Instant::now(), Backlog::default());
        backlog.observe(began, 1_000, 1, drained(0, 0, 0.0));
        assert_eq!(backlog.between(began, drained(0, 0, 0.0)), 0.0);
        backlog.observe(after(began, 2.0), 800, 1, drained(100, 100, 2.0));
        // 900 at 50 a second; 1.5 s later 75 less.
        let found = backlog.between(after(began, 3.5), drained(100, 175, 3.5));
        assert!((found - 16.5).abs() < 1e-9, "{found}");
        let stuck = backlog.between(after(began, 3.5), drained(100, 100, 3.5));
        assert_eq!(stuck, 18.0 + 1.5, "nothing was settled since");
        backlog.observe(after(began, 4.0), 0, 1, drained(0, 1_000, 4.0));
        let found = backlog.between(after(began, 4.5), drained(3, 1_010, 4.1));
        assert_eq!(found, 0.0, "an empty queue is no backlog");
    }

    #[test]
    fn an_idle_worker_is_not_slow_and_an_empty_queue_is_no_backlog() {
        let (began, mut backlog) = (Instant::now(), Backlog::default());
        // One event a second, 15 ms each.
        for second in 0..60_u64 {
            let own = drained(0, second, second as f64 * 0.015);
            assert_eq!(backlog.observe(after(began, second as f64), 0, 1, own), 0.0);
        }
        let found = backlog.observe(after(began, 60.0), 100, 1, drained(0, 60, 0.9));
        assert!((1.4..1.6).contains(&found), "{found}");
    }
}
