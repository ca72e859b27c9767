//! What the pipeline gives back for a batch of a request.

use super::refusal::EventResult;
use axum::http::HeaderMap;
use ha_pipeline::{AckHandle, DeadLetter};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The results of a batch's events that are not stored, by their place in the request.
pub(crate) type DeadLetters = Vec<(usize, EventResult)>;

/// Told of the dead letters of one batch, and answered when all of it is settled.
#[derive(Debug)]
pub(crate) struct IntakeAckHandle {
    /// Place in the request of the batch's first event, and of each after it.
    places: Vec<usize>,
    is_first_pass: bool,
    dead_letters: DeadLetters,
    settled: oneshot::Sender<DeadLetters>,
    _held: Held,
    trace: ha_trace::Context,
}

/// The share of the limits that a batch takes until it is settled, even if nobody waits any more:
/// the pipeline still has its bytes.
#[derive(Debug)]
pub(crate) struct Held {
    batches: Arc<AtomicUsize>,
    _bytes: Arc<OwnedSemaphorePermit>,
}

impl Held {
    pub fn new(batches: &Arc<AtomicUsize>, bytes: Arc<OwnedSemaphorePermit>) -> Self {
        batches.fetch_add(1, Ordering::Relaxed);
        Self {
            batches: Arc::clone(batches),
            _bytes: bytes,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.batches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl IntakeAckHandle {
    /// Made within the request's place in a trace.
    pub fn new(
        places: Vec<usize>,
        is_first_pass: bool,
        held: Held,
    ) -> (Self, oneshot::Receiver<DeadLetters>) {
        let (settled, waiting) = oneshot::channel();
        (
            Self {
                places,
                is_first_pass,
                dead_letters: Vec::new(),
                settled,
                _held: held,
                trace: ha_trace::Context::current(),
            },
            waiting,
        )
    }

    /// Everything is stored or a dead letter.
    pub fn settle(self) {
        // The sender may have given up.
        let _ = self.settled.send(self.dead_letters);
    }
}

impl AckHandle for IntakeAckHandle {
    fn trace(&self) -> Option<&ha_trace::Context> {
        Some(&self.trace)
    }

    fn became_dead_letter(&mut self, envelope: usize, dead_letter: &DeadLetter) {
        if let Some(place) = self.places.get(envelope) {
            let result = EventResult::DeadLetter {
                reason: dead_letter.reason.as_str(),
                error: dead_letter.error.clone(),
            };
            self.dead_letters.push((*place, result));
        }
    }

    fn is_first_pass(&self) -> bool {
        self.is_first_pass
    }
}

/// Whether the sender vouches that it offers the batch for the first time: see
/// [`AckHandle::is_first_pass`]. A producer that says nothing may be an older one, which
/// did not say so of the second time either.
pub(crate) fn is_first_offer(headers: &HeaderMap) -> bool {
    let mut again = headers.get_all(ha_batch::HEADER_AGAIN).iter();
    again.next().is_some_and(|again| again == "0") && again.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_a_sender_that_says_so_offers_for_the_first_time() {
        let said = |again: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for again in again {
                headers.append(ha_batch::HEADER_AGAIN, HeaderValue::from_static(again));
            }
            is_first_offer(&headers)
        };
        assert!(said(&["0"]));
        for again in [&[][..], &["1"], &[""], &["00"], &["1", "0"], &["0", "1"]] {
            assert!(!said(again), "{again:?}");
        }
    }
}
