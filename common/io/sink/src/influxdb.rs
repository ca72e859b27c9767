//! InfluxDB over HTTP: the v2 write endpoint (InfluxDB 2.x, 3.x, 1.8) and the one of 1.x.
//!
//! The rules for each answer are in `answer`; finding the bad lines of a batch is in `isolation`. A
//! line that is refused for an attribute is written without it (`batch`), and the next is written
//! without it at once (`refusals`).

mod answer;
mod attributes;
mod batch;
mod conflict;
mod hint;
mod isolation;
mod options;
mod probe;
mod refusals;

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use flate2::{Compression, write::GzEncoder};
use ha_point::Lines;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use url::Url;

pub(crate) use answer::words_of;
pub use attributes::{AttributeFields, LeftOut, LeftOutReason};
pub(crate) use options::endpoint;
pub use options::{Api, InfluxDbOptions, OptionsError};

use crate::WriteOutcome;
use answer::Answer;
use batch::Batch;
use isolation::Isolation;
use refusals::{News, Refusals};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the keep-alive of servers and load balancers (usually 60 s and more), so that it
/// is us who close an idle connection and not the other side just as we write.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections kept; more writes than these in flight open their own.
const POOL_IDLE_CONNECTIONS_MAX: usize = 8;
/// How much of an answer is read. InfluxDB 1.x quotes every line that it could not parse.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// A body that any InfluxDB checks address, token and bucket for, and that stores nothing.
const NO_POINTS: &[u8] = b"#\n";
/// Larger bodies are compressed off the async threads: this much takes half a millisecond, a full
/// batch (1.2 MB) four.
const COMPRESS_INLINE_BYTES_MAX: usize = 128 * 1024;

/// A client of one bucket.
#[derive(Debug)]
pub struct InfluxDb {
    client: reqwest::Client,
    options: InfluxDbOptions,
    base: Url,
    write_url: Url,
    authorization: Option<HeaderValue>,
    refusals: Mutex<Refusals>,
    left_out: Mutex<LeftOut>,
}

impl InfluxDb {
    /// Prepares a client; connects to nothing yet.
    ///
    /// # Errors
    /// A setting that cannot be used, by the name of its variable.
    pub fn new(options: InfluxDbOptions) -> Result<Self, OptionsError> {
        let base = options.base_url()?;
        let write_url = options.write_url(&base);
        let authorization = options.authorization()?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_CONNECTIONS_MAX)
            // A redirected POST becomes a GET, which would answer 200 and store nothing.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(tls) = &options.tls {
            builder = builder.tls_backend_preconfigured(tls.as_ref().clone());
        } else if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Without one, reqwest panics even for http. Losing a race for it is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = builder
            .build()
            .map_err(|error| OptionsError::Client(chain(&error)))?;
        let refusals = Mutex::new(Refusals::new(options.attribute_fields));
        Ok(Self {
            client,
            options,
            base,
            write_url,
            authorization,
            refusals,
            left_out: Mutex::default(),
        })
    }

    /// The settings in use.
    #[must_use]
    pub fn options(&self) -> &InfluxDbOptions {
        &self.options
    }

    /// One attempt to store all lines; lines that the database will not take are found and named. A
    /// line that it does not take for an attribute is stored without it.
    pub async fn write(&self, lines: &Lines) -> WriteOutcome {
        if lines.is_empty() {
            return WriteOutcome::Written;
        }
        let batch = self.prepared(lines);
        let body = batch.whole();
        let mut isolation = match self.post(&body).await.ending() {
            Ok(outcome) => return outcome,
            Err(Answer::Stored) => {
                let mut refusals = self.refusals();
                refusals.keep(&body);
                if !refusals.is_empty() {
                    let all: Vec<_> = (0..lines.len()).collect();
                    batch.tell_stored(&all, &mut refusals);
                    drop(refusals);
                    self.count(batch.left_out(&HashSet::new()));
                }
                return WriteOutcome::Written;
            }
            Err(answer) => match self.whole_request_refused(&answer).await {
                Some(outcome) => return outcome,
                None => Isolation::new(batch, answer, &mut self.refusals(), Instant::now()),
            },
        };
        loop {
            let body = isolation.next_body(&self.refusals());
            let Some(body) = body else {
                break;
            };
            match self.post(&Arc::new(body)).await.ending() {
                Ok(outcome) => return outcome,
                Err(answer) => {
                    isolation.answered(answer, &mut self.refusals(), Instant::now());
                    self.tell_news();
                }
            }
        }
        let (outcome, left_out) = isolation.into_outcome();
        self.count(left_out);
        outcome
    }

    /// Attributes that were left out of stored points since this was last asked.
    pub fn take_left_out(&self) -> LeftOut {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut left_out)
    }

    /// The lines without what the database is known not to take.
    fn prepared<'a>(&self, lines: &'a Lines) -> Batch<'a> {
        let mut batch = Batch::new(lines, self.options.attribute_fields);
        let mut refusals = self.refusals();
        if !refusals.is_empty() {
            refusals.forget(Instant::now());
            for line in 0..lines.len() {
                batch.leave_out_known(line, &refusals);
            }
        }
        batch
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, left_out: LeftOut) {
        let mut counted = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        counted.add_all(left_out);
    }

    fn tell_news(&self) {
        for news in self.refusals().take_news() {
            match news {
                News::FullTable { measurement } => tracing::warn!(
                    measurement,
                    "the database takes no more columns in this measurement: new attributes are left \
                     out of its points; exclude attributes by EXCLUDE_ATTRIBUTES, or raise the \
                     database's limit"
                ),
                News::OtherType { measurement, field } => tracing::warn!(
                    measurement,
                    field,
                    "the database has this field with another type: the attribute is left out of \
                     points; exclude it by EXCLUDE_ATTRIBUTES, or delete the other writer's field"
                ),
            }
        }
    }

    /// A 400 may be about the request (a proxy, a missing parameter) and not about its lines. Then
    /// one without points fails as well, and no line may be blamed.
    async fn whole_request_refused(&self, answer: &Answer) -> Option<WriteOutcome> {
        match answer {
            Answer::Lines(words) if !words.is_about_lines() => {
                self.post_no_points().await.ending().ok()
            }
            _ => None,
        }
    }

    /// Whether the database takes writes for this bucket from us at all. Never [`Answer::Lines`].
    async fn post_no_points(&self) -> Answer {
        match self.post(&Arc::new(NO_POINTS.to_vec())).await {
            Answer::Lines(words) if words.is_about_missing_points() => Answer::Stored,
            Answer::Lines(words) | Answer::TooLarge(words) => Answer::Refused {
                reason: self.options.redacted(&format!(
                    "the database refuses even a write without points: {}",
                    words.short()
                )),
                remedy: "check INFLUXDB_URL, INFLUXDB_API, INFLUXDB_ORG and INFLUXDB_BUCKET"
                    .to_owned(),
            },
            answer => answer,
        }
    }

    /// Sends one body and judges what came back.
    async fn post(&self, lines: &Arc<Vec<u8>>) -> Answer {
        let request = self
            .authorized(self.client.post(self.write_url.clone()))
            .timeout(self.options.timeout)
            .header(CONTENT_TYPE, "text/plain; charset=utf-8");
        let request = if lines.len() < self.options.gzip_bytes_min {
            request.body(lines.to_vec())
        } else {
            match compressed(lines).await {
                Ok(body) => request.header(CONTENT_ENCODING, "gzip").body(body),
                Err(error) => {
                    let reason = format!("could not compress the batch: {error}");
                    return Answer::Unavailable {
                        reason,
                        retry_after: None,
                    };
                }
            }
        };
        let read = async {
            let response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, beginning(response).await?))
        };
        match read.await {
            Ok((status, headers, body)) => {
                answer::judge(&self.options, status, &headers, &body, SystemTime::now())
            }
            Err(error) => Answer::Unavailable {
                reason: self.unreachable(error),
                retry_after: None,
            },
        }
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Why no complete answer came, without the address's secrets.
    pub(crate) fn unreachable(&self, error: reqwest::Error) -> String {
        let what = if error.is_timeout() {
            "no answer in time from"
        } else if error.is_connect() {
            "cannot connect to"
        } else {
            "no complete answer from"
        };
        format!(
            "{what} INFLUXDB_URL {}: {}",
            self.base,
            chain(&error.without_url())
        )
    }
}

/// The beginning of an answer's body; the rest is given up together with its connection.
pub(crate) async fn beginning(mut response: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = ANSWER_BYTES_MAX.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    Ok(body)
}

async fn compressed(bytes: &Arc<Vec<u8>>) -> std::io::Result<Vec<u8>> {
    if bytes.len() <= COMPRESS_INLINE_BYTES_MAX {
        return gzip(bytes);
    }
    let bytes = Arc::clone(bytes);
    tokio::task::spawn_blocking(move || gzip(&bytes))
        .await
        .map_err(std::io::Error::other)?
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    // Level 1: on a fast network the processor is dearer than the bytes.
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(1));
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// The error and its causes. reqwest's own words repeat the address: take it away before.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
