//! What the pipeline gives back for a frame of a request.

use super::events::EventResult;
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
    pub fn new(places: Vec<usize>, held: Held) -> (Self, oneshot::Receiver<Letters>) {
        let (settled, waiting) = oneshot::channel();
        (
            Self {
                places,
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
}
