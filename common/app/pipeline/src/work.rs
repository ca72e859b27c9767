//! What goes into the pipeline and what comes out.

use crate::dead_letter::DeadLetter;
use bytes::Bytes;
use ha_batch::Replay;

/// A batch to store, and what its sender wants back when that is done.
#[derive(Debug)]
pub struct Work<T> {
    /// An encoded batch, compressed or as it is.
    pub payload: Bytes,
    /// Set when the batch is a dead letter that was sent again; a batch may also say so itself.
    pub replay: Option<Replay>,
    /// Given back in the [`Outcome`].
    pub ack_handle: T,
}

/// What its sender gives along with a batch and gets back when every event of it is settled. Most
/// need no more than that; those who must answer for each event are told of dead letters on the way.
pub trait AckHandle: Send + 'static {
    /// The event at this place of the batch is about to become a dead letter. It is one, safely,
    /// when the ack handle comes back.
    fn became_dead_letter(&mut self, envelope: usize, dead_letter: &DeadLetter) {
        let _ = (envelope, dead_letter);
    }

    /// Whether no process can have seen the batch before. Only then are fields written that do
    /// not follow from the batch's bytes (weather that was asked for over the network): a second
    /// pass, perhaps in another process that knows other weather, could contradict the first.
    fn is_first_pass(&self) -> bool {
        false
    }

    /// Its place in a trace: the write that takes it is linked to that.
    fn trace(&self) -> Option<&ha_trace::Context> {
        None
    }
}

/// A delivery tag.
impl AckHandle for u64 {}

/// Somebody who waits for the batch as a whole.
impl<T: Send + 'static> AckHandle for tokio::sync::oneshot::Sender<T> {}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// Every event of it is stored or a dead letter.
    Settled(T),
    /// Written by a newer version: nothing was done with it.
    NewerVersion(T, u16),
}
