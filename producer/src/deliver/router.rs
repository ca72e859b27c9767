//! Decides where a batch goes: to the route while that takes batches and its window
//! has room, else to the spool. A batch is safe when the route has confirmed it or the spool's fsync
//! has returned; until then it is held, and offered again.

mod drain;
mod window;

use crate::deliver::direct::DirectWrites;
use crate::deliver::encoded::EncodedBatch;
use crate::deliver::route::{Route, RouteError};
use crate::observe::metrics::Metrics;
use ha_dead_letters::{DeadLetterPlace, SpoolDeadLetters};
use ha_pipeline::{DeadLetter, DeadLetterStore};
use ha_resilience::{Backoff, Breaker, BreakerOptions, Decision, State};
use ha_spool::{Spool, SpoolBatch, SpoolError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use window::Window;

/// Probes go out this soon after a failure at first, and this far apart at last. The connections
/// have their own, slower backoff; a probe while there is no connection costs nothing.
const BLOCKED_FIRST: Duration = Duration::from_millis(250);
const BLOCKED_MAX: Duration = Duration::from_secs(5);

/// Failures without a success between them, of the kind that may hit one batch alone.
const FAILURES_IN_A_ROW_MAX: u32 = 3;

/// How long the broker may take to confirm dead letters.
const DEAD_LETTERS_PATIENCE: Duration = Duration::from_secs(10);

/// Sees batches to where they are safe.
#[derive(Debug)]
pub struct Router {
    route: Route,
    breaker: Mutex<Breaker>,
    spool: Spool,
    direct: Option<DirectWrites>,
    dead_letters: DeadLetterPlace,
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
        dead_letters: DeadLetterPlace,
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
            dead_letters,
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
        batch: EncodedBatch,
    ) -> impl Future<Output = ()> + Send + use<> {
        let router = Arc::clone(self);
        let place = self.window.enter(batch.envelopes as usize);
        async move {
            if place.is_some() || router.append(&batch).await.is_err() {
                router.deliver_or_spool(batch).await;
            }
            drop(place);
        }
    }

    async fn deliver_or_spool(&self, mut batch: EncodedBatch) {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        loop {
            if self.offer(&batch).await.is_ok() {
                self.metrics.confirmed(u64::from(batch.events));
                return;
            }
            batch.is_first_offer = false;
            if self.append(&batch).await.is_ok() {
                return;
            }
            // Neither the route nor the disk takes it. It is held here, the window fills, and at
            // last the reader closes the socket: gap fill then fetches what was not read.
            tokio::time::sleep(backoff.next_random()).await;
        }
    }

    /// Stores dead letters; returns when they are safe: in the spool's own store where the broker does
    /// not take them.
    pub async fn dead_letters(&self, dead_letters: Vec<DeadLetter>) {
        let reasons: Vec<_> = dead_letters
            .iter()
            .map(|dead_letter| dead_letter.reason)
            .collect();
        let delivered = self.dead_letters.deliver(dead_letters.clone());
        if tokio::time::timeout(DEAD_LETTERS_PATIENCE, delivered)
            .await
            .is_err()
        {
            SpoolDeadLetters::new(self.spool.clone())
                .deliver(dead_letters)
                .await;
        }
        self.metrics.dead_lettered(&reasons);
    }

    /// The breaker's state, for `/status` and metrics.
    #[must_use]
    pub fn state(&self) -> State {
        self.breaker().state()
    }

    /// Offers a batch to the route once, if the breaker lets it.
    async fn offer(&self, batch: &EncodedBatch) -> Result<(), Option<RouteError>> {
        let decision = self.breaker().decide(Instant::now());
        if decision == Decision::Refuse {
            return Err(None);
        }
        let outcome = self.route.offer(batch).await;
        let failure = outcome.as_ref().copied().map_err(RouteError::failure);
        let mut breaker = self.breaker();
        let before = breaker.state();
        breaker.settled(Instant::now(), decision, failure);
        let after = breaker.state();
        drop(breaker);
        self.say(before, after, outcome.as_ref().err());
        outcome.map_err(Some)
    }

    async fn append(&self, batch: &EncodedBatch) -> Result<(), SpoolError> {
        let appended = self
            .spool
            .append(SpoolBatch {
                payload: batch.payload.clone(),
                events: batch.events,
                oldest_ns: batch.oldest_ns,
                written_direct: false,
            })
            .await;
        match appended {
            Ok(appended) => {
                self.metrics.spooled(u64::from(batch.events));
                if let Some(direct) = &self.direct {
                    direct.offer(appended.id, batch);
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

    /// One line when the route goes and one when it comes back, whatever number of batches it hits.
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
