//! One address of one worker, or of a load balancer.

use super::error::IntakeError;
use super::options::{ClientOptions, shown};
use crate::BearerToken;
use bytes::Bytes;
use ha_resilience::{Breaker, Decision};
use reqwest::StatusCode;
use reqwest::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use url::Url;

/// Connections used in turn.
const LANES: usize = 8;

/// No connection is kept longer, nor for more batches: behind one address that picks a worker for
/// each connection, the shares are even only over many connections, each of about the same use.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(1);
const CONNECTION_BATCHES_MAX: u32 = 16;

/// How much of a refusal is read.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// How much of a success is read, so that its connection can be used again.
const SUCCESS_BYTES_MAX: usize = 1 << 20;

/// The longest that a worker's `Retry-After` is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// One address.
#[derive(Debug)]
pub(crate) struct Target {
    base: Url,
    url: Url,
    address: SocketAddr,
    authorization: Option<HeaderValue>,
    compress_bytes_min: Option<usize>,
    lanes: Vec<Lane>,
    turn: AtomicUsize,
    health: Mutex<Health>,
}

/// A client with one connection to spare.
#[derive(Debug)]
struct Lane {
    client: reqwest::Client,
    used: Mutex<Used>,
}

/// Since when, and for how many batches, a lane's connection has been in use.
#[derive(Debug)]
struct Used {
    since: Instant,
    batches: u32,
}

impl Used {
    fn not_yet() -> Self {
        Self {
            since: Instant::now(),
            batches: 0,
        }
    }
}

#[derive(Debug)]
struct Health {
    breaker: Breaker,
    last_error: Option<IntakeError>,
}

/// What a breaker let through; if it is dropped unsettled (a caller with a timeout), a probe is
/// given back.
pub(crate) struct Attempt<'t> {
    target: &'t Target,
    decision: Decision,
    settled: bool,
}

impl Attempt<'_> {
    pub fn settled(mut self, outcome: Result<(), IntakeError>) {
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

impl Target {
    pub fn new(base: &Url, address: SocketAddr, options: &ClientOptions) -> Result<Self, String> {
        let lane = || -> reqwest::Result<Lane> {
            let mut builder = reqwest::Client::builder()
                .connect_timeout(options.connect_timeout)
                .timeout(options.request_timeout)
                .pool_idle_timeout(CONNECTION_AGE_MAX)
                .pool_max_idle_per_host(1)
                .no_proxy()
                // A redirected POST becomes a GET, which would answer 200 and store nothing.
                .redirect(reqwest::redirect::Policy::none())
                .tls_backend_preconfigured(options.tls.as_ref().clone());
            if let Some(name) = base.domain() {
                builder = builder.resolve(name, address);
            }
            Ok(Lane {
                client: builder.build()?,
                used: Mutex::new(Used::not_yet()),
            })
        };
        let lanes = (0..LANES)
            .map(|_| lane())
            .collect::<Result<_, _>>()
            .map_err(|e| chain(&e))?;
        let authorization = options.token.as_ref().map(header).transpose()?;
        Ok(Self {
            base: base.clone(),
            url: endpoint(base),
            address,
            authorization,
            compress_bytes_min: options.compress_bytes_min,
            lanes,
            turn: AtomicUsize::new(0),
            health: Mutex::new(Health {
                breaker: Breaker::new(options.breaker),
                last_error: None,
            }),
        })
    }

    pub fn is(&self, base: &Url, address: SocketAddr) -> bool {
        self.address == address && self.is_of(base)
    }

    pub fn is_of(&self, base: &Url) -> bool {
        self.base == *base
    }

    /// For people.
    pub fn name(&self) -> String {
        match self.base.domain() {
            Some(_) => format!("{} ({})", shown(&self.base), self.address.ip()),
            None => shown(&self.base),
        }
    }

    /// Whether to try it now.
    pub fn attempt(&self) -> Option<Attempt<'_>> {
        let decision = self.health().breaker.decide(Instant::now());
        let attempt = Attempt {
            target: self,
            decision,
            settled: false,
        };
        (decision != Decision::Refuse).then_some(attempt)
    }

    fn settled(&self, decision: Decision, outcome: Result<(), IntakeError>) {
        let failure = match &outcome {
            Ok(()) => Ok(()),
            Err(error) => Err(error.failure()),
        };
        let mut health = self.health();
        health.breaker.settled(Instant::now(), decision, failure);
        health.last_error = outcome.err();
    }

    fn abandoned(&self) {
        self.health().breaker.abandoned(Instant::now());
    }

    pub fn last_error(&self) -> Option<IntakeError> {
        self.health().last_error.clone()
    }

    /// An empty list of events: checks address, token and the way, and stores nothing.
    pub async fn probe(&self) -> Result<(), IntakeError> {
        let nothing = Bytes::from_static(b"[]");
        self.post(nothing, "application/json", true, None).await
    }

    /// One attempt at a batch.
    pub async fn post_batch(&self, batch: Bytes, is_first: bool) -> Result<(), IntakeError> {
        let (body, encoding) = match ha_batch::compressed_from(self.compress_bytes_min, &batch) {
            Some(compressed) => (compressed.into(), Some(ha_batch::ZSTD)),
            None => (batch, None),
        };
        self.post(body, ha_batch::CONTENT_TYPE, is_first, encoding)
            .await
    }

    async fn post(
        &self,
        body: Bytes,
        content_type: &'static str,
        is_first: bool,
        content_encoding: Option<&'static str>,
    ) -> Result<(), IntakeError> {
        let lane = &self.lanes[self.turn.fetch_add(1, Ordering::Relaxed) % self.lanes.len()];
        let mut request = lane
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, content_type)
            .header("prefer", "return=minimal")
            .header(ha_batch::HEADER_AGAIN, if is_first { "0" } else { "1" })
            .body(body);
        if let Some(encoding) = content_encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(traceparent) = ha_trace::Context::current().traceparent() {
            request = request.header(ha_trace::HEADER, traceparent);
        }
        if lane.has_served() {
            request = request.header(CONNECTION, "close");
        }
        match request.send().await {
            Ok(response) => self.answer(response).await,
            Err(error) => {
                let error = chain(&error.without_url());
                Err(IntakeError::Unavailable(format!(
                    "{}: {error}",
                    self.name()
                )))
            }
        }
    }

    async fn answer(&self, mut response: reqwest::Response) -> Result<(), IntakeError> {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).cloned();
        if status.is_success() {
            let mut read = 0;
            while let Ok(Some(part)) = response.chunk().await {
                read += part.len();
                if read > SUCCESS_BYTES_MAX {
                    break;
                }
            }
            return Ok(());
        }
        let mut body = Vec::new();
        while let Ok(Some(part)) = response.chunk().await {
            body.extend_from_slice(&part);
            if body.len() > ANSWER_BYTES_MAX {
                break;
            }
        }
        let reason = format!("{} answered {status}: {}", self.name(), words(&body));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => IntakeError::Refused(reason),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let after = retry_after.as_ref().and_then(seconds).unwrap_or_default();
                IntakeError::RetryAfter {
                    after: after.min(RETRY_AFTER_MAX),
                    reason,
                }
            }
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => IntakeError::Rejected(reason),
            _ => IntakeError::Unavailable(reason),
        })
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Whether its connection has served its time with this batch; asked once a batch.
    fn has_served(&self) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.batches += 1;
        let served =
            used.batches >= CONNECTION_BATCHES_MAX || used.since.elapsed() >= CONNECTION_AGE_MAX;
        if served {
            *used = Used::not_yet();
        }
        served
    }
}

fn header(token: &BearerToken) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&token.header())
        .map_err(|_| "INTAKE_TOKEN holds characters that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The base URL with the intake's path, unless it ends with it already.
fn endpoint(base: &Url) -> Url {
    let mut url = base.clone();
    let prefix = base.path().trim_end_matches('/');
    if !prefix.ends_with(crate::PATH) {
        url.set_path(&format!("{prefix}{}", crate::PATH));
    }
    url
}

/// Seconds, or an HTTP date.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(SystemTime::now())
            .ok(),
    }
}

/// The intake's words, or the beginning of somebody else's.
fn words(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Answer {
        error: String,
    }
    match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => answer.error,
        Err(_) => String::from_utf8_lossy(body)
            .trim()
            .chars()
            .take(200)
            .collect(),
    }
}

/// An error and what it came from: reqwest's own words say the least.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}
