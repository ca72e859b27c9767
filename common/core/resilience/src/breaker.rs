//! Whether a route is worth an attempt: `Passing`, `Blocked` until a time, or `Probing`.
//!
//! "Open" and "closed" are avoided on purpose: half the world means the circuit and half the door.

use std::time::{Duration, Instant};

/// What the breaker holds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Counted failures without a success between them that block the route; 0 is taken as 1.
    pub failures_in_a_row_max: u32,
    /// How long the first block lasts.
    pub blocked_first: Duration,
    /// The longest block; every failed probe doubles the last one up to here.
    pub blocked_max: Duration,
}

/// What to do with the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Attempt it.
    Pass,
    /// Attempt it; it is the only one until its outcome is reported.
    Probe,
    /// Do not attempt it.
    Refuse,
}

/// How an attempt failed, as far as the breaker acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// One attempt failed; others may still get through (a nack, a timeout).
    Counted,
    /// The route as a whole is gone (a lost connection, `connection.blocked`): block at once.
    Immediate,
    /// The other side said when to come back (`Retry-After`): block at once, for at least this
    /// long, within the maximum.
    RetryAfter(Duration),
}

/// The state, for metrics and the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Attempts go through.
    Passing,
    /// Nothing goes through before this time; the first attempt after it is the probe.
    Blocked {
        /// When the next probe may start.
        until: Instant,
    },
    /// One attempt is under way; everything else waits for its outcome.
    Probing,
}

/// A breaker in front of one route.
#[derive(Debug, Clone)]
pub struct Breaker {
    options: BreakerOptions,
    state: State,
    failures_in_a_row: u32,
    /// How long the next block will last.
    blocked_next: Duration,
}

impl Breaker {
    /// A breaker that passes.
    #[must_use]
    pub fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            state: State::Passing,
            failures_in_a_row: 0,
            blocked_next: options.blocked_first.min(options.blocked_max),
        }
    }

    /// The state as of the last call.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Decides about one attempt. A caller that gets [`Decision::Probe`] must report an outcome, or call
    /// [`Breaker::abandoned`]: nothing else is let through until then.
    pub fn decide(&mut self, now: Instant) -> Decision {
        match self.state {
            State::Passing => Decision::Pass,
            State::Blocked { until } if now < until => Decision::Refuse,
            State::Blocked { .. } => {
                self.state = State::Probing;
                Decision::Probe
            }
            State::Probing => Decision::Refuse,
        }
    }

    /// An attempt succeeded. For callers with one attempt in flight at a time: while probing, the
    /// outcome is taken to be the probe's. Others use [`Breaker::settled`].
    pub fn succeeded(&mut self, now: Instant) {
        self.settled(now, self.in_flight(), Ok(()));
    }

    /// An attempt failed. For callers with one attempt in flight at a time, like
    /// [`Breaker::succeeded`].
    pub fn failed(&mut self, now: Instant, failure: Failure) {
        self.settled(now, self.in_flight(), Err(failure));
    }

    /// The outcome of the attempt that `decision` let through.
    ///
    /// With many attempts in flight, those from before a block report while the route is blocked or
    /// being probed. They say nothing about the probe, and a thousand of them timing out must not
    /// double the block a thousand times: they are skipped.
    pub fn settled(&mut self, now: Instant, decision: Decision, outcome: Result<(), Failure>) {
        match (self.state, decision) {
            (State::Passing, Decision::Pass) | (State::Probing, Decision::Probe) => {}
            _ => return,
        }
        match outcome {
            Ok(()) => {
                self.state = State::Passing;
                self.failures_in_a_row = 0;
                self.blocked_next = self.options.blocked_first.min(self.options.blocked_max);
            }
            Err(failure) => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                let enough = self.failures_in_a_row >= self.options.failures_in_a_row_max.max(1);
                if decision == Decision::Probe || failure != Failure::Counted || enough {
                    self.block(now, failure);
                }
            }
        }
    }

    /// The probe was given up without an outcome (shutdown, a dropped future). The next attempt is
    /// a probe again.
    pub fn abandoned(&mut self, now: Instant) {
        if self.state == State::Probing {
            self.state = State::Blocked { until: now };
        }
    }

    fn in_flight(&self) -> Decision {
        if self.state == State::Probing {
            Decision::Probe
        } else {
            Decision::Pass
        }
    }

    fn block(&mut self, now: Instant, failure: Failure) {
        let asked = match failure {
            Failure::RetryAfter(asked) => asked,
            Failure::Counted | Failure::Immediate => Duration::ZERO,
        };
        let blocked = self.blocked_next.max(asked).min(self.options.blocked_max);
        self.blocked_next = self
            .blocked_next
            .saturating_mul(2)
            .min(self.options.blocked_max);
        // A block past the end of the clock is as good as none: the probe will tell.
        self.state = State::Blocked {
            until: now.checked_add(blocked).unwrap_or(now),
        };
    }
}

#[cfg(test)]
mod tests;
