//! One request, from its headers to its answer.

use super::ack_handle::{Held, IntakeAckHandle, is_first_offer};
use super::body::{self, Compression, ReadBody};
use super::events::{self, Prepared};
use super::metrics::Metrics;
use super::options::IntakeOptions;
use super::refusal::{AWAY_RETRY_S, EventResult, FULL_RETRY_S, Refusal};
use axum::Json;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Query, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use ha_pipeline::{SinkState, Work};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout_at};

/// Larger bodies are parsed off the async threads.
const INLINE_BYTES_MAX: usize = 128 << 10;

/// RFC 7240: with `return=minimal` an answer that says nothing new has no body.
static PREFER: HeaderName = HeaderName::from_static("prefer");

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub options: IntakeOptions,
    pub work: mpsc::Sender<Work<IntakeAckHandle>>,
    pub sink: watch::Receiver<SinkState>,
    pub requests: Semaphore,
    pub held_bytes: Arc<Semaphore>,
    /// Batches of ours that are not settled.
    pub held_batches: Arc<AtomicUsize>,
    pub metrics: Metrics,
}

/// Everything but [`crate::PATH`].
pub(crate) async fn elsewhere() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("there is nothing here; POST to {}", crate::PATH),
    )
}

/// `POST /v1/events`
pub(crate) async fn events(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (parts, mut body) = request.into_parts();
    let minimal = parts
        .headers
        .get_all(&PREFER)
        .iter()
        .any(|value| value == "return=minimal");
    let sent = parts.headers.get(ha_trace::HEADER);
    let sent = sent.and_then(|header| header.to_str().ok());
    let span = ha_trace::serve(sent, crate::PATH);
    let taking = taken(&shared, &parts.headers, &parts.uri, &mut body);
    let answer = match ha_trace::within(&span.context(), taking).await {
        Ok(results) => answered(&shared, &results, minimal),
        Err(refusal) => {
            let mut response = refusal.into_response();
            if !body.is_end_stream() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
                // A sender that waits to be told to go on has sent nothing.
                if !parts.headers.contains_key(header::EXPECT) {
                    tokio::spawn(body::linger(body));
                }
            }
            response
        }
    };
    shared.metrics.answered(answer.status().as_u16());
    answer
}

fn answered(shared: &Shared, results: &[EventResult], minimal: bool) -> Response {
    shared.metrics.results(results);
    let stored = results.iter().all(|result| *result == EventResult::Stored);
    match (stored, minimal) {
        (true, true) => StatusCode::NO_CONTENT.into_response(),
        (true, false) => Json(serde_json::json!({"results": results})).into_response(),
        (false, _) => {
            let answer = Json(serde_json::json!({"results": results}));
            (StatusCode::MULTI_STATUS, answer).into_response()
        }
    }
}

/// The kinds of body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Batch,
}

#[derive(Deserialize)]
struct Parameters {
    instance: Option<String>,
}

async fn taken(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    uri: &axum::http::Uri,
    body: &mut Body,
) -> Result<Vec<EventResult>, Refusal> {
    let limits = &shared.options.limits;
    authorized(shared, headers)?;
    let (kind, compression) = (kind(headers)?, compression(headers)?);
    let instance = instance(shared, uri)?;
    let length = body.size_hint().lower();
    if usize::try_from(length).is_ok_and(|length| length > limits.body_bytes_max) {
        return Err(body::too_large(limits));
    }
    let _request = shared.requests.try_acquire().map_err(|_| Refusal::full())?;
    // While the database is away, one request in the pipeline is enough to find out when it is
    // back.
    if let (Some(away), true) = (
        away(shared),
        shared.held_batches.load(Ordering::Relaxed) > 0,
    ) {
        return Err(away);
    }
    let mut read = body::read(body, &shared.held_bytes, limits).await?;
    if let Some(compression) = compression {
        read = body::decompressed(read, compression, &shared.held_bytes, limits).await?;
    }
    let (prepared, permit) = prepared(shared, read, kind, instance).await?;
    let all_rejected = !prepared.results.is_empty() && prepared.batches.is_empty();
    if all_rejected {
        let status = match prepared.oversized {
            true => StatusCode::PAYLOAD_TOO_LARGE,
            false => StatusCode::BAD_REQUEST,
        };
        shared.metrics.results(&prepared.results);
        return Err(Refusal {
            results: prepared.results,
            ..Refusal::new(status, "no event was taken")
        });
    }
    let is_first_pass = kind == Kind::Batch && is_first_offer(headers);
    stored(shared, prepared, is_first_pass, permit).await
}

fn authorized(shared: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &shared.options.token else {
        return Ok(());
    };
    let given = headers.get(header::AUTHORIZATION);
    if given.is_some_and(|given| token.is_carried_by(given.as_bytes())) {
        return Ok(());
    }
    let error = match given {
        Some(_) => "the token is not the one of INTAKE_TOKEN",
        None => "send the header Authorization: Bearer and the token of INTAKE_TOKEN",
    };
    Err(Refusal::new(StatusCode::UNAUTHORIZED, error))
}

fn kind(headers: &HeaderMap) -> Result<Kind, Refusal> {
    let text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let text = text.unwrap_or_default();
    match text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
        .as_str()
    {
        "application/json" => Ok(Kind::Json),
        ha_batch::CONTENT_TYPE => Ok(Kind::Batch),
        other => {
            let error = format!(
                "content type {other:?} is not taken; send application/json or {}",
                ha_batch::CONTENT_TYPE
            );
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
        }
    }
}

fn compression(headers: &HeaderMap) -> Result<Option<Compression>, Refusal> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(None);
    };
    match encoding.as_bytes().to_ascii_lowercase().as_slice() {
        b"gzip" => Ok(Some(Compression::Gzip)),
        b"zstd" => Ok(Some(Compression::Zstd)),
        b"identity" | b"" => Ok(None),
        _ => {
            let error = "this content encoding is not taken; send gzip, zstd, or none";
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
        }
    }
}

/// The home's name, by the rule for `INSTANCE_NAME`: it becomes a tag.
fn instance(shared: &Shared, uri: &axum::http::Uri) -> Result<String, Refusal> {
    let bad = || {
        let error = "instance: a name of 1 to 100 letters, digits, spaces and - _ .";
        Refusal::new(StatusCode::BAD_REQUEST, error)
    };
    let Query(parameters) = Query::<Parameters>::try_from_uri(uri).map_err(|_| bad())?;
    let Some(name) = parameters.instance else {
        return Ok(shared.options.instance.clone());
    };
    let name = name.trim();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
        return Err(bad());
    }
    Ok(name.to_owned())
}

fn away(shared: &Shared) -> Option<Refusal> {
    reason(&shared.sink.borrow()).map(Refusal::away)
}

fn reason(state: &SinkState) -> Option<&str> {
    match state {
        SinkState::Available => None,
        SinkState::Unavailable(reason) | SinkState::Refused(reason) => Some(reason),
    }
}

async fn prepared(
    shared: &Arc<Shared>,
    read: ReadBody,
    kind: Kind,
    instance: String,
) -> Result<(Prepared, tokio::sync::OwnedSemaphorePermit), Refusal> {
    let ReadBody { bytes, permit } = read;
    let prepared = match kind {
        Kind::Batch => events::from_batch(bytes)?,
        Kind::Json if bytes.len() <= INLINE_BYTES_MAX => {
            events::from_json(&bytes, &instance, &shared.options)?
        }
        Kind::Json => {
            let shared = Arc::clone(shared);
            body::off_the_async_threads(move || {
                events::from_json(&bytes, &instance, &shared.options)
            })
            .await?
        }
    };
    Ok((prepared, permit))
}

/// Hands the batches to the pipeline and waits until all are settled.
async fn stored(
    shared: &Shared,
    prepared: Prepared,
    is_first_pass: bool,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> Result<Vec<EventResult>, Refusal> {
    let Prepared {
        batches,
        mut results,
        ..
    } = prepared;
    let mut sink = shared.sink.clone();
    let away_already = reason(&sink.borrow_and_update()).is_some();
    let deadline = Instant::now() + shared.options.limits.store_timeout;
    let ended = || {
        Refusal::retry(
            StatusCode::SERVICE_UNAVAILABLE,
            "shutting down",
            FULL_RETRY_S,
        )
    };
    let permit = Arc::new(permit);
    let storing = async {
        let mut waiting = Vec::with_capacity(batches.len());
        for batch in batches {
            let held = Held::new(&shared.held_batches, Arc::clone(&permit));
            let (ack_handle, settled) = IntakeAckHandle::new(batch.places, is_first_pass, held);
            let work = Work {
                payload: batch.payload,
                replay: None,
                ack_handle,
            };
            shared.work.send(work).await.map_err(|_| ended())?;
            waiting.push(async { settled.await.map_err(|_| ended()) });
        }
        try_join_all(waiting).await
    };
    let gone = async {
        if away_already {
            std::future::pending::<()>().await;
        }
        loop {
            if sink.changed().await.is_err() {
                return ended();
            }
            if let Some(reason) = reason(&sink.borrow_and_update()) {
                return Refusal::away(reason);
            }
        }
    };
    let dead_letters = tokio::select! {
        biased;
        stored = timeout_at(deadline, storing) => match stored {
            Ok(stored) => stored?,
            Err(_) => {
                let error = "not stored in time; send it again, it will be one point all the same";
                return Err(Refusal::retry(StatusCode::SERVICE_UNAVAILABLE, error, AWAY_RETRY_S));
            }
        },
        refusal = gone => return Err(refusal),
    };
    for (place, result) in dead_letters.into_iter().flatten() {
        if let Some(slot) = results.get_mut(place) {
            *slot = result;
        }
    }
    Ok(results)
}
