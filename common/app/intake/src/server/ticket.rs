//! What the pipeline gives back for a frame of a request.

use super::refusal::EventResult;
use axum::http::HeaderMap;
use ha_pipeline::{Letter, Ticket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The results of a frame's events that are not stored, by their place in the request.
pub(crate) type Letters = Vec<(usize, EventResult)>;

/// Told of the letters of one frame, and answered when all of it is settled.
#[derive(Debug)]
pub(crate) struct IntakeTicket {
    /// Place in the request of the frame's first event, and of each after it.
    places: Vec<usize>,
    is_first_pass: bool,
    letters: Letters,
    settled: oneshot::Sender<Letters>,
    _held: Held,
    trace: ha_trace::Context,
}

/// The share of the limits that a frame takes until it is settled, even if nobody waits any more:
/// the pipeline still has its bytes.
#[derive(Debug)]
pub(crate) struct Held {
    frames: Arc<AtomicUsize>,
    _bytes: Arc<OwnedSemaphorePermit>,
}

impl Held {
    pub fn new(frames: &Arc<AtomicUsize>, bytes: Arc<OwnedSemaphorePermit>) -> Self {
        frames.fetch_add(1, Ordering::Relaxed);
        Self {
            frames: Arc::clone(frames),
            _bytes: bytes,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.frames.fetch_sub(1, Ordering::Relaxed);
    }
}

impl IntakeTicket {
    /// Made within the request's place in a trace.
    pub fn new(
        places: Vec<usize>,
        is_first_pass: bool,
        held: Held,
    ) -> (Self, oneshot::Receiver<Letters>) {
        let (settled, waiting) = oneshot::channel();
        (
            Self {
                places,
                is_first_pass,
                letters: Vec::new(),
                settled,
                _held: held,
                trace: ha_trace::Context::current(),
            },
            waiting,
        )
    }

    /// Everything is stored or a letter.
    pub fn settle(self) {
        // The sender may have given up.
        let _ = self.settled.send(self.letters);
    }
}

impl Ticket for IntakeTicket {
    fn trace(&self) -> Option<&ha_trace::Context> {
        Some(&self.trace)
    }

    fn became_letter(&mut self, envelope: usize, letter: &Letter) {
        if let Some(place) = self.places.get(envelope) {
            let result = EventResult::DeadLetter {
                reason: letter.reason.as_str(),
                error: letter.error.clone(),
            };
            self.letters.push((*place, result));
        }
    }

    fn is_first_pass(&self) -> bool {
        self.is_first_pass
    }
}

/// Whether the sender vouches that it offers the frame for the first time: see
/// [`Ticket::is_first_pass`]. A producer that says nothing may be an older one, which
/// did not say so of the second time either.
pub(crate) fn is_first_offer(headers: &HeaderMap) -> bool {
    let mut again = headers.get_all(ha_frame::HEADER_AGAIN).iter();
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
                headers.append(ha_frame::HEADER_AGAIN, HeaderValue::from_static(again));
            }
            is_first_offer(&headers)
        };
        assert!(said(&["0"]));
        for again in [&[][..], &["1"], &[""], &["00"], &["1", "0"], &["0", "1"]] {
            assert!(!said(again), "{again:?}");
        }
    }
}
