//! The sender of batches: one address or many behind one name, spread over all that are well.
//!
//! A name is resolved again every few seconds, and every address that it stands for is a target of
//! its own, with its own connections and its own breaker. Batches go round the targets. A target
//! that fails is skipped for a while, and the batch at hand goes to the next one: whether the
//! first has stored it is not known, but the same event written twice is one point.
//!
//! Behind a load balancer one address may be many workers. So each target has several connections
//! in turn, and none lives longer than a second or a few batches: kept alive for ever, it would pin
//! its sender to one worker.

mod error;
mod options;
mod resolve;
mod target;

pub use error::IntakeError;
pub use options::{ClientOptions, parse_urls};

use bytes::Bytes;
use futures_util::future::join_all;
use resolve::{AbortOnDrop, Resolved};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use target::Target;
use tokio::sync::{Semaphore, watch};

/// Batches under way at one time; the intake takes several senders' worth.
const BATCHES_MAX: usize = 32;

/// The address of each worker, and whether it takes events.
pub type Answers = Vec<(String, Result<(), IntakeError>)>;

/// The client. Cheap to clone; clones share connections and breakers.
#[derive(Debug, Clone)]
pub struct IntakeClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ClientOptions,
    resolved: watch::Receiver<Resolved>,
    turn: AtomicUsize,
    under_way: Semaphore,
    _resolving: AbortOnDrop,
}

impl IntakeClient {
    /// Begins to resolve names; connects to nothing yet. Must be called on a tokio runtime.
    #[must_use]
    pub fn new(options: ClientOptions) -> Self {
        let (resolved, _resolving) = resolve::start(options.clone());
        let under_way = Semaphore::new(BATCHES_MAX);
        let turn = AtomicUsize::new(0);
        Self {
            shared: Arc::new(Shared {
                options,
                resolved,
                turn,
                under_way,
                _resolving,
            }),
        }
    }

    /// The configured addresses, fit for logs.
    #[must_use]
    pub fn addresses(&self) -> String {
        self.shared.options.addresses().join(", ")
    }

    /// Delivers one batch to one worker. Delivered means answered with 2xx: every event of it is
    /// stored or a dead letter there. A batch that was never offered before, to this client or any
    /// other way, says so to the first worker that it is sent to, and to no second one.
    ///
    /// # Errors
    /// [`IntakeError`], after every worker that was well was tried (a lone one twice), or after
    /// the request timeout.
    pub async fn deliver(&self, batch: Bytes, is_first_offer: bool) -> Result<(), IntakeError> {
        // Never closed: this cannot fail.
        let _slot = self.shared.under_way.acquire().await.ok();
        let targets = self.targets().await?;
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let (mut error, mut is_first) = (None, is_first_offer);
        for attempt in 0..targets.len().max(2) {
            if attempt > 0 && began.elapsed() >= self.shared.options.request_timeout {
                break;
            }
            let target = &targets[turn.wrapping_add(attempt) % targets.len()];
            match try_one(target, batch.clone(), &mut is_first).await {
                Ok(()) => return Ok(()),
                Err(Some(rejected @ IntakeError::Rejected(_))) => return Err(rejected),
                Err(Some(failed)) => error = Some(failed),
                Err(None) => error = error.or_else(|| target.last_error()),
            }
        }
        Err(error.unwrap_or_else(|| IntakeError::Unavailable("no worker is well".to_owned())))
    }

    /// Asks every worker whether it would take events now, storing nothing: each one's address,
    /// and what came back.
    ///
    /// # Errors
    /// When a name cannot be resolved.
    pub async fn probe(&self) -> Result<Answers, IntakeError> {
        let targets = self.targets().await?;
        let ask = |target: &Arc<Target>| {
            let target = Arc::clone(target);
            async move { (target.name(), target.probe().await) }
        };
        Ok(join_all(targets.iter().map(ask)).await)
    }

    /// The targets as of the last resolution; waits for the first one.
    async fn targets(&self) -> Result<Arc<[Arc<Target>]>, IntakeError> {
        let mut resolved = self.shared.resolved.clone();
        let first = resolved.wait_for(|resolved| resolved.is_known());
        let first = tokio::time::timeout(self.shared.options.connect_timeout, first).await;
        let unknown = match first {
            Ok(Ok(resolved)) if !resolved.targets.is_empty() => {
                return Ok(Arc::clone(&resolved.targets));
            }
            Ok(Ok(resolved)) => resolved.error.clone().unwrap_or_default(),
            _ => "its name was not resolved in time".to_owned(),
        };
        let reason = format!("cannot reach {}: {unknown}", self.addresses());
        Err(IntakeError::Unavailable(reason))
    }
}

/// One attempt at one target, if its breaker lets it; else `Err(None)`.
async fn try_one(
    target: &Target,
    batch: Bytes,
    is_first: &mut bool,
) -> Result<(), Option<IntakeError>> {
    let attempt = target.attempt().ok_or(None)?;
    // From here on it may have been taken, whatever comes back.
    let is_first = std::mem::take(is_first);
    let outcome = target.post_batch(batch, is_first).await;
    match &outcome {
        // A worker that judges a batch is well.
        Ok(()) | Err(IntakeError::Rejected(_)) => attempt.settled(Ok(())),
        Err(error) => attempt.settled(Err(error.clone())),
    }
    outcome.map_err(Some)
}
