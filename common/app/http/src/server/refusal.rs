//! Answers: what became of each event, and why a request is not taken.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Seconds to wait when the intake is full, and when the database is away.
pub(crate) const FULL_RETRY_S: u64 = 1;
pub(crate) const AWAY_RETRY_S: u64 = 5;

/// What became of one event of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum EventResult {
    /// Its point is in the database.
    Stored,
    /// It is kept as a dead letter.
    DeadLetter {
        /// `x-ha-reason`.
        reason: &'static str,
        /// `x-ha-error`.
        error: String,
    },
    /// It is not kept: the sender has to mend it.
    Rejected {
        /// What is wrong with it.
        error: String,
    },
}

/// A request that is not taken.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub error: String,
    pub retry_after_s: Option<u64>,
    pub results: Vec<EventResult>,
}

impl Refusal {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            retry_after_s: None,
            results: Vec::new(),
        }
    }

    pub fn retry(status: StatusCode, error: impl Into<String>, after_s: u64) -> Self {
        Self {
            retry_after_s: Some(after_s),
            ..Self::new(status, error)
        }
    }

    pub fn full() -> Self {
        let error = "the intake holds as much as it may; the write side is behind";
        Self::retry(StatusCode::TOO_MANY_REQUESTS, error, FULL_RETRY_S)
    }

    pub fn away(reason: &str) -> Self {
        let error = format!("the database takes no writes: {reason}");
        Self::retry(StatusCode::SERVICE_UNAVAILABLE, error, AWAY_RETRY_S)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = serde_json::json!({"error": self.error});
        if !self.results.is_empty() {
            answer["results"] = serde_json::json!(self.results);
        }
        let mut response = (self.status, Json(answer)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
