//! The one place that decides where a frame goes: to the route while that takes frames and its window
//! has room, else to the spool. A frame is safe when the route has confirmed it or the spool's fsync
//! has returned; until then it is held, and offered again.

mod drain;
mod window;

use crate::deliver::direct::DirectWrites;
use crate::deliver::encoded::EncodedFrame;
use crate::deliver::route::{Route, RouteError};
use crate::observe::metrics::Metrics;
use ha_dead_letters::{LetterStore, SpoolLetters};
use ha_pipeline::{DeadLetters, Letter};
use ha_resilience::{Backoff, Breaker, BreakerOptions, Decision, State};
use ha_spool::{Spool, SpoolError, SpoolFrame};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use window::Window;

/// Probes go out this soon after a failure at first, and this far apart at last. The connections
/// have their own, slower backoff; a probe while there is no connection costs nothing.
const BLOCKED_FIRST: Duration = Duration::from_millis(250);
const BLOCKED_MAX: Duration = Duration::from_secs(5);

/// Failures without a success between them, of the kind that may hit one frame alone.
const FAILURES_IN_A_ROW_MAX: u32 = 3;

/// How long the broker may take to confirm letters.
const LETTERS_PATIENCE: Duration = Duration::from_secs(10);

/// Sees frames to where they are safe.
#[derive(Debug)]
pub struct Router {
    route: Route,
    breaker: Mutex<Breaker>,
    spool: Spool,
    direct: Option<DirectWrites>,
    letters: LetterStore,
    window: Window,
    metrics: Metrics,
}

impl Router {
    /// A router over one route, with direct writes where there are any, and a window of this many
    /// unconfirmed events.
    #[must_use]
    pub fn new(
        route: Route,
        spool: Spool,
        direct: Option<DirectWrites>,
        letters: LetterStore,
        window_events: usize,
        metrics: Metrics,
    ) -> Self {
        let breaker = Mutex::new(Breaker::new(BreakerOptions {
            failures_in_a_row_max: FAILURES_IN_A_ROW_MAX,
            blocked_first: BLOCKED_FIRST,
            blocked_max: BLOCKED_MAX,
        }));
        Self {
            route,
            breaker,
            spool,
            direct,
            letters,
            window: Window::new(window_events),
            metrics,
        }
    }

    /// Whether the window has room for a batch.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.window.has_room()
    }

    /// Batches in the window.
    #[must_use]
    pub fn unconfirmed(&self) -> usize {
        self.window.batches()
    }

    /// Takes a batch, into the window at once where that has room. The future ends when the batch is
    /// safe.
    pub fn deliver(
        self: &Arc<Self>,
        frame: EncodedFrame,
    ) -> impl Future<Output = ()> + Send + use<> {
        let router = Arc::clone(self);
        let place = self.window.enter(frame.envelopes as usize);
        async move {
            if place.is_some() || router.append(&frame).await.is_err() {
                router.deliver_or_spool(frame).await;
            }
            drop(place);
        }
    }

    async fn deliver_or_spool(&self, mut frame: EncodedFrame) {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        loop {
            if self.offer(&frame).await.is_ok() {
                self.metrics.confirmed(u64::from(frame.events));
                return;
            }
            frame.is_first_offer = false;
            if self.append(&frame).await.is_ok() {
                return;
            }
            // Neither the route nor the disk takes it. It is held here, the window fills, and at
            // last the reader closes the socket: gap fill then fetches what was not read.
            tokio::time::sleep(backoff.next_random()).await;
        }
    }

    /// Stores letters; returns when they are safe: in the spool's own store where the broker does
    /// not take them.
    pub async fn dead_letters(&self, letters: Vec<Letter>) {
        let reasons: Vec<_> = letters.iter().map(|letter| letter.reason).collect();
        let delivered = self.letters.deliver(letters.clone());
        if tokio::time::timeout(LETTERS_PATIENCE, delivered)
            .await
            .is_err()
        {
            SpoolLetters::new(self.spool.clone()).deliver(letters).await;
        }
        self.metrics.dead_lettered(&reasons);
    }

    /// The breaker's state, for `/status` and metrics.
    #[must_use]
    pub fn state(&self) -> State {
        self.breaker().state()
    }

    /// Offers a frame to the route once, if the breaker lets it.
    async fn offer(&self, frame: &EncodedFrame) -> Result<(), Option<RouteError>> {
        let decision = self.breaker().decide(Instant::now());
        if decision == Decision::Refuse {
            return Err(None);
        }
        let outcome = self.route.offer(frame).await;
        let failure = outcome.as_ref().copied().map_err(RouteError::failure);
        let mut breaker = self.breaker();
        let before = breaker.state();
        breaker.settled(Instant::now(), decision, failure);
        let after = breaker.state();
        drop(breaker);
        self.say(before, after, outcome.as_ref().err());
        outcome.map_err(Some)
    }

    async fn append(&self, frame: &EncodedFrame) -> Result<(), SpoolError> {
        let appended = self
            .spool
            .append(SpoolFrame {
                payload: frame.payload.clone(),
                events: frame.events,
                oldest_ns: frame.oldest_ns,
                written_direct: false,
            })
            .await;
        match appended {
            Ok(appended) => {
                self.metrics.spooled(u64::from(frame.events));
                if let Some(direct) = &self.direct {
                    direct.offer(appended.id, frame);
                }
                let lost = appended.dropped.events - appended.dropped.events_written_direct;
                if lost > 0 {
                    self.metrics.lost_to_overflow(lost);
                }
                Ok(())
            }
            Err(error) => {
                self.metrics.spool_failed(&error);
                Err(error)
            }
        }
    }

    /// One line when the route goes and one when it comes back, whatever number of frames it hits.
    fn say(&self, before: State, after: State, error: Option<&RouteError>) {
        match (before == State::Passing, after == State::Passing) {
            (true, false) => {
                let reason = error.map(ToString::to_string).unwrap_or_default();
                tracing::warn!(reason, "the route is away; events go to the spool");
            }
            (false, true) => tracing::info!("the route takes events again"),
            _ => {}
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
