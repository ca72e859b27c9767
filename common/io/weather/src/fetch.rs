//! One question and its answer.

use reqwest::{Client, StatusCode, header};
use std::error::Error;
use std::time::Duration;
use url::Url;

/// Connecting, the answer and its body together.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// An answer is about 1 KiB.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why there is no observation. The address is never part of the words: it holds the key.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer in time, or no connection.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// Another status than 200.
    #[error("answered {status}: {text}")]
    Refused {
        /// The status.
        status: u16,
        /// The beginning of what it says.
        text: String,
        /// When it wishes to be asked again.
        retry_after: Option<Duration>,
    },
    /// Not what the provider's documentation says.
    #[error("the answer could not be read: {0}")]
    Unreadable(String),
}

impl FetchError {
    /// When the provider wishes to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

pub(crate) async fn get(client: &Client, url: Url) -> Result<Vec<u8>, FetchError> {
    match tokio::time::timeout(TIMEOUT, answer(client, url)).await {
        Ok(answer) => answer,
        Err(_) => Err(FetchError::NoAnswer(format!(
            "within {} s",
            TIMEOUT.as_secs()
        ))),
    }
}

async fn answer(client: &Client, url: Url) -> Result<Vec<u8>, FetchError> {
    let no_answer = |error: reqwest::Error| FetchError::NoAnswer(causes(&error.without_url()));
    let mut response = client.get(url).send().await.map_err(no_answer)?;
    let status = response.status();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            let error = format!("longer than {ANSWER_BYTES_MAX} bytes");
            return Err(FetchError::Unreadable(error));
        }
        bytes.extend_from_slice(&chunk);
    }
    if status == StatusCode::OK {
        return Ok(bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    Err(FetchError::Refused {
        status: status.as_u16(),
        text: text.chars().take(200).collect(),
        retry_after,
    })
}

/// An error and what it came from: reqwest's own words say the least.
fn causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
