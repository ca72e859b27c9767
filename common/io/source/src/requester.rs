//! Commands over the live connection, answered between events.

use bytes::Bytes;
use ha_protocol::HomeAssistantError;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Requests waiting for the driver, and again those waiting for their answer.
pub(crate) const REQUESTS_MAX: usize = 64;

pub(crate) type Reply = oneshot::Sender<Result<Bytes, RequestError>>;

pub(crate) struct Request {
    pub(crate) command: String,
    pub(crate) fields: Value,
    pub(crate) reply: Reply,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// There is no connection; try again when there is one.
    #[error("not connected to Home Assistant")]
    NotConnected,
    /// The connection ended before the answer; whether the command ran is not known.
    #[error("the connection ended before the answer")]
    Disconnected,
    /// No answer within this time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Too many requests at once.
    #[error("too many requests at once")]
    Busy,
    /// Home Assistant answered with an error: the same request will fail again.
    #[error(transparent)]
    Refused(#[from] HomeAssistantError),
}

/// Sends commands over the source's connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Requester {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) timeout: Duration,
}

impl Requester {
    /// The JSON under `"result"` of a command's answer. `fields` is an object, or null for none.
    ///
    /// # Errors
    /// At once where there is no connection; else as the variants say.
    pub async fn request(&self, command: &str, fields: Value) -> Result<Bytes, RequestError> {
        self.request_within(command, fields, self.timeout).await
    }

    /// [`Requester::request`] with its own timeout, for answers that take Home Assistant long
    /// (history of many entities).
    ///
    /// # Errors
    /// As for [`Requester::request`].
    pub async fn request_within(
        &self,
        command: &str,
        fields: Value,
        timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            command: command.to_owned(),
            fields,
            reply,
        };
        let asked = async {
            self.requests
                .send(request)
                .await
                .map_err(|_| RequestError::NotConnected)?;
            answer.await.unwrap_or(Err(RequestError::Disconnected))
        };
        tokio::time::timeout(timeout, asked)
            .await
            .unwrap_or(Err(RequestError::TimedOut(timeout)))
    }
}

/// The requests of one session that wait for their answer, by id.
#[derive(Default)]
pub(crate) struct Waiting(HashMap<u64, Reply>);

impl Waiting {
    /// Whether there is room for one more, not counting those that nobody waits for any longer.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.0.len() >= REQUESTS_MAX {
            self.0.retain(|_, reply| !reply.is_closed());
        }
        self.0.len() < REQUESTS_MAX
    }

    pub(crate) fn insert(&mut self, id: u64, reply: Reply) {
        self.0.insert(id, reply);
    }

    pub(crate) fn answer(&mut self, id: u64, outcome: Result<Bytes, RequestError>) {
        if let Some(reply) = self.0.remove(&id) {
            // An error means that the asker has given up.
            let _ = reply.send(outcome);
        }
    }
}

/// Refuses a request while there is no connection.
pub(crate) fn refuse(request: Option<Request>) {
    if let Some(request) = request {
        let _ = request.reply.send(Err(RequestError::NotConnected));
    }
}
