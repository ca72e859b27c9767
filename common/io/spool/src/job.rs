//! A unit of work for the thread that owns the connection.

use rusqlite::Result;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::SpoolError;
use crate::store::Store;

/// What the thread is asked to do.
pub(crate) enum Command {
    /// Changes the file: shares a transaction with its neighbours.
    Write(Box<dyn Job>),
    /// Only reads: runs between transactions, so it never sees what is not durable yet.
    Read(Box<dyn Job>),
    /// Closes the file, says so, and ends the thread.
    Close(oneshot::Sender<()>),
}

/// Work that can be applied more than once before it is settled: a job whose group failed to
/// commit is tried again on its own.
pub(crate) trait Job: Send {
    /// Does the work within the transaction that is open, and remembers the outcome.
    fn apply(&mut self, store: &mut Store) -> Result<()>;
    /// Answers the caller: with the outcome if `result` is Ok.
    fn settle(self: Box<Self>, result: std::result::Result<(), SpoolError>);
    /// The bytes it brings along.
    fn bytes(&self) -> usize;
}

/// A job made of a closure.
pub(crate) struct Ask<F, T> {
    pub(crate) run: F,
    pub(crate) outcome: Option<T>,
    pub(crate) reply: oneshot::Sender<std::result::Result<T, SpoolError>>,
    pub(crate) bytes: usize,
    /// Room in the queue, given back when the job is settled.
    pub(crate) _room: OwnedSemaphorePermit,
}

impl<F, T> Job for Ask<F, T>
where
    F: FnMut(&mut Store) -> Result<T> + Send,
    T: Send,
{
    fn apply(&mut self, store: &mut Store) -> Result<()> {
        self.outcome = Some((self.run)(store)?);
        Ok(())
    }

    fn settle(self: Box<Self>, result: std::result::Result<(), SpoolError>) {
        let answer = match (result, self.outcome) {
            (Ok(()), Some(outcome)) => Ok(outcome),
            (Ok(()), None) => Err(SpoolError::Closed),
            (Err(error), _) => Err(error),
        };
        // The caller may have gone; the work is done anyway.
        let _ = self.reply.send(answer);
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}
