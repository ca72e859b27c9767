//! The one place that decides what happens to a frame.

use crate::framer::EncodedFrame;
use crate::metrics::Metrics;
use crate::route::Route;
use ha_assembly::LetterStore;
use ha_pipeline::{DeadLetters, Letter};
use ha_resilience::Backoff;
use std::time::Duration;

/// Sees frames to where they are safe.
#[derive(Debug)]
pub struct Router {
    route: Route,
    letters: LetterStore,
    window_events: usize,
    metrics: Metrics,
}

impl Router {
    /// A router over one route, with so many events unconfirmed at one time.
    #[must_use]
    pub fn new(
        route: Route,
        letters: LetterStore,
        window_events: usize,
        metrics: Metrics,
    ) -> Self {
        Self { route, letters, window_events, metrics }
    }

    /// Events that may be unconfirmed at one time.
    #[must_use]
    pub fn window_events(&self) -> usize {
        self.window_events
    }

    /// Offers the frame until the route has it; the number of its events.
    pub async fn deliver(&self, frame: EncodedFrame) -> u32 {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while let Err(error) = self.route.offer(&frame).await {
            tracing::debug!(%error, events = frame.events, "not delivered, trying again");
            self.metrics.retried(u64::from(frame.events));
            tokio::time::sleep(backoff.next_random()).await;
        }
        frame.events
    }

    /// Stores letters; returns when they are safe.
    pub async fn dead_letters(&self, letters: Vec<Letter>) {
        self.letters.deliver(letters).await;
    }
}
