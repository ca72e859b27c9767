//! One client's connection: what is on its way to it, and how it ends.
//!
//! The WebSocket library does the handshake, reads and answers control frames; data frames are
//! written by [`writer`], because only the one who writes the bytes to the socket knows which
//! events got there whole, which is what the ledger must say.

mod commands;
mod outbox;
mod session;
mod writer;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use outbox::{Limits, Outgoing, SentBatch};
pub(crate) use session::serve;

use outbox::Outbox;

#[derive(Debug)]
pub(crate) struct Connection {
    /// From 1, in the order of arrival.
    pub(crate) number: u32,
    outbox: Mutex<Outbox>,
    /// Tells the writer that there is something in the outbox.
    wake: Notify,
    /// Ends the connection at once, without a close frame.
    cut: CancellationToken,
    /// Asks the session for a proper close.
    close: CancellationToken,
    /// Whether cutting resets (RST) instead of finishing (FIN).
    reset: AtomicBool,
    coalesce: AtomicBool,
    authenticated: AtomicBool,
}

impl Connection {
    pub(crate) fn new(number: u32, limits: Limits) -> Self {
        Self {
            number,
            outbox: Mutex::new(Outbox::new(limits)),
            wake: Notify::new(),
            cut: CancellationToken::new(),
            close: CancellationToken::new(),
            reset: AtomicBool::new(false),
            coalesce: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
        }
    }

    /// Puts a message into the outbox; never waits. A client that is too far behind is cut.
    pub(crate) fn push(&self, outgoing: Outgoing) {
        if self.outbox().push(outgoing) {
            self.wake.notify_one();
        } else {
            tracing::warn!(connection = self.number, "the client does not keep up: cut");
            self.cut.cancel();
        }
    }

    /// Ends the connection with a close frame behind everything that is pending. One that has not
    /// authenticated yet is cut: nothing is pending there.
    pub(crate) fn close(&self) {
        if self.authenticated.load(Ordering::Acquire) {
            self.close.cancel();
        } else {
            self.cut(false);
        }
    }

    pub(crate) fn set_authenticated(&self) {
        self.authenticated.store(true, Ordering::Release);
    }

    /// Ends the connection at once; what is pending is lost.
    pub(crate) fn cut(&self, reset: bool) {
        self.reset.store(reset, Ordering::Release);
        self.outbox().shut();
        self.cut.cancel();
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
