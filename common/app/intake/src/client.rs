//! The sender of frames: one address or many behind one name, spread over all that are well.
//!
//! A name is resolved again every few seconds, and every address that it stands for is a target of
//! its own, with its own connections and its own breaker. Frames go round the targets. A target
//! that fails is passed over for a while, and the frame at hand goes to the next one: whether the
//! first has stored it is not known, but the same event written twice is one point.
//!
//! Behind a load balancer one address may be many workers. So each target has several connections
//! in turn, and none lives longer than a second or a few frames: kept alive for ever, it would pin
//! its sender to one worker.

mod resolve;
mod target;

use crate::BearerToken;
use bytes::Bytes;
use futures_util::future::join_all;
use ha_resilience::{BreakerOptions, Decision, Failure};
use resolve::{AbortOnDrop, Resolved};
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use target::Target;
use tokio::sync::{Semaphore, watch};
use url::Url;

/// Frames under way at one time; the intake takes several senders' worth.
const FRAMES_MAX: usize = 32;

/// How to reach the workers.
#[derive(Clone)]
pub struct ClientOptions {
    /// Base URLs of workers (`ENRICHMENT_SERVICE_URL`); a name may stand for many addresses.
    pub urls: Vec<Url>,
    /// The workers' `INTAKE_TOKEN`.
    pub token: Option<BearerToken>,
    /// For `https`.
    pub tls: Arc<ClientConfig>,
    /// For one connection.
    pub connect_timeout: Duration,
    /// For one attempt, its answer included. No further attempt begins after it.
    pub request_timeout: Duration,
    /// How often names are resolved again.
    pub resolve_every: Duration,
    /// Addresses of names that no name server is asked for, like curl's `--resolve`.
    pub known_names: BTreeMap<String, Vec<IpAddr>>,
    /// When a target is passed over, and for how long.
    pub breaker: BreakerOptions,
    /// Frames of so many bytes and more travel packed ([`ha_frame::pack`]); `None`: none do.
    pub pack_bytes_min: Option<usize>,
}

impl ClientOptions {
    /// The defaults: 3 s, 12 s (longer than the intake takes to say that it is not stored yet),
    /// 5 s; three failures in a row, 250 ms to 5 s.
    #[must_use]
    pub fn new(urls: Vec<Url>, token: Option<BearerToken>, tls: Arc<ClientConfig>) -> Self {
        Self {
            urls,
            token,
            tls,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(12),
            resolve_every: Duration::from_secs(5),
            known_names: BTreeMap::new(),
            breaker: BreakerOptions {
                failures_in_a_row_max: 3,
                blocked_first: Duration::from_millis(250),
                blocked_max: Duration::from_secs(5),
            },
            pack_bytes_min: None,
        }
    }
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions")
            .field("urls", &self.addresses())
            .finish_non_exhaustive()
    }
}

impl ClientOptions {
    fn addresses(&self) -> Vec<String> {
        self.urls.iter().map(target::shown).collect()
    }
}

/// Reads `ENRICHMENT_SERVICE_URL`: one URL, or several with commas between them.
///
/// # Errors
/// What would be valid. The text is not repeated: it may hold a password.
pub fn parse_urls(text: &str) -> Result<Vec<Url>, &'static str> {
    let url = |part: &str| match Url::parse(part) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("a URL such as http://worker:8300, or several with commas between them"),
    };
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let urls: Vec<_> = parts.map(url).collect::<Result<_, _>>()?;
    match urls.is_empty() {
        true => url("").map(|url| vec![url]),
        false => Ok(urls),
    }
}

/// Why no worker has a frame. (One may have it all the same when the connection broke.)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// Nobody there, no answer in time, or a failure on their side.
    #[error("{0}")]
    Unavailable(String),
    /// The worker asked to be left alone for so long: full, or without its database.
    #[error("{reason}")]
    RetryAfter {
        /// How long.
        after: Duration,
        /// The worker's words.
        reason: String,
    },
    /// The token is refused: `INTAKE_TOKEN` must change, here or there.
    #[error("{0}; INTAKE_TOKEN must be the same here and there")]
    Refused(String),
    /// This frame is refused, others may pass.
    #[error("{0}")]
    Rejected(String),
}

impl IntakeError {
    fn failure(&self) -> Failure {
        match self {
            Self::RetryAfter { after, .. } => Failure::RetryAfter(*after),
            Self::Refused(_) => Failure::Immediate,
            Self::Unavailable(_) | Self::Rejected(_) => Failure::Counted,
        }
    }
}

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
        let under_way = Semaphore::new(FRAMES_MAX);
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

    /// Delivers one frame to one worker. Delivered means answered with 2xx: every event of it is
    /// stored or a dead letter there. A frame that was never offered before, to this client or any
    /// other way, says so to the first worker that it is sent to, and to no second one.
    ///
    /// # Errors
    /// [`IntakeError`], after every worker that was well was tried (a lone one twice), or after
    /// the request timeout.
    pub async fn deliver(&self, frame: Bytes, is_first_offer: bool) -> Result<(), IntakeError> {
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
            match try_one(target, frame.clone(), &mut is_first).await {
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
    frame: Bytes,
    is_first: &mut bool,
) -> Result<(), Option<IntakeError>> {
    let attempt = target.attempt().ok_or(None)?;
    // From here on it may have been taken, whatever comes back.
    let is_first = std::mem::take(is_first);
    let outcome = target.post_frame(frame, is_first).await;
    match &outcome {
        // A worker that judges a frame is well.
        Ok(()) | Err(IntakeError::Rejected(_)) => attempt.settled(Ok(())),
        Err(error) => attempt.settled(Err(error.clone())),
    }
    outcome.map_err(Some)
}

/// What a breaker let through; if it is dropped unsettled (a caller with a timeout), a probe is
/// given back.
struct Attempt<'t> {
    target: &'t Target,
    decision: Decision,
    settled: bool,
}

impl Attempt<'_> {
    fn settled(mut self, outcome: Result<(), IntakeError>) {
        self.settled = true;
        self.target.settled(self.decision, outcome);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.settled && self.decision == Decision::Probe {
            self.target.abandoned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_url_or_several() {
        let read = |text| parse_urls(text).map(|urls| urls.iter().map(Url::to_string).collect());
        assert_eq!(read("http://a:1"), Ok(vec!["http://a:1/".to_owned()]));
        let two = vec!["http://a:1/".to_owned(), "https://b/x".to_owned()];
        assert_eq!(read(" http://a:1, https://b/x ,"), Ok(two));
        for bad in ["", ",", "a:1", "ftp://a", "http://a,b", "amqp://a"] {
            assert!(parse_urls(bad).is_err(), "{bad}");
        }
    }
}
