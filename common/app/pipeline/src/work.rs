//! What goes into the pipeline and what comes out.

use crate::letter::Letter;
use bytes::Bytes;
use ha_frame::Replay;

/// A frame to store, and what its sender wants back when that is done.
#[derive(Debug)]
pub struct Work<T> {
    /// An encoded frame, packed or as it is.
    pub payload: Bytes,
    /// Set when the frame is a dead letter that was sent again; a frame may also say so itself.
    pub replay: Option<Replay>,
    /// Given back in the [`Outcome`].
    pub ticket: T,
}

/// What its sender gives along with a frame and gets back when every event of it is settled. Most
/// need no more than that; those who must answer for each event are told of letters on the way.
pub trait Ticket: Send + 'static {
    /// The event at this place of the frame is about to become a dead letter. It is one, safely,
    /// when the ticket comes back.
    fn became_letter(&mut self, envelope: usize, letter: &Letter) {
        let _ = (envelope, letter);
    }

    /// Whether nobody can have processed the frame before. Only then are fields written that do
    /// not follow from the frame's bytes (weather that was asked for over the network): a second
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
impl Ticket for u64 {}

/// Somebody who waits for the frame as a whole.
impl<T: Send + 'static> Ticket for tokio::sync::oneshot::Sender<T> {}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// Every event of it is stored or a dead letter.
    Settled(T),
    /// Written by a newer version: nothing was done with it.
    NewerVersion(T, u16),
}
