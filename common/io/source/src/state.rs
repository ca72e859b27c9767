//! How the connection is, for `/readyz`, `/status` and the metrics.

use ha_protocol::ProtocolError;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The connection to Home Assistant as of now.
#[derive(Debug, Clone, PartialEq)]
pub enum ConnectionState {
    /// The first attempt is under way.
    Connecting,
    /// Home Assistant refuses the access token; it is tried again slowly.
    AuthInvalid {
        /// Home Assistant's words.
        message: String,
    },
    /// Authenticated and subscribed.
    Connected {
        /// Since when.
        since: SystemTime,
        /// Home Assistant's version.
        ha_version: String,
    },
    /// Not connected, trying again.
    Disconnected {
        /// Why the last attempt or session ended.
        reason: Ended,
        /// Since when there has been no connection.
        since: SystemTime,
    },
}

/// Why a session, or an attempt at one, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// No connection came about.
    Unreachable(String),
    /// A deadline passed; the words say which.
    TimedOut(&'static str),
    /// Home Assistant closed the connection in good order.
    Closed {
        /// The WebSocket close code; 1005 where there was none.
        code: u16,
        /// Home Assistant's words, often none.
        reason: String,
    },
    /// The connection broke.
    Lost(String),
    /// Nothing came, not even the answer to a ping.
    Silent,
    /// The caller lagged so far behind that the queue was full; closed by the reader.
    QueueFull,
    /// The access token was refused.
    AuthInvalid(String),
    /// The conversation could not go on.
    Refused(ProtocolError),
    /// The shutdown token.
    Shutdown,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "cannot connect: {error}"),
            Self::TimedOut(what) => write!(f, "timed out: {what}"),
            Self::Closed { code, reason } if reason.is_empty() => {
                write!(f, "closed by Home Assistant ({code})")
            }
            Self::Closed { code, reason } => {
                write!(f, "closed by Home Assistant ({code}: {reason})")
            }
            Self::Lost(error) => write!(f, "connection lost: {error}"),
            Self::Silent => f.write_str("no answer to a ping"),
            Self::QueueFull => f.write_str("receive queue full: closed by us"),
            Self::AuthInvalid(message) => write!(f, "access token refused: {message}"),
            Self::Refused(error) => error.fmt(f),
            Self::Shutdown => f.write_str("shutting down"),
        }
    }
}

/// Counts since the source was made. They only rise; read them with relaxed ordering.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events handed on.
    pub events_received: AtomicU64,
    /// Text messages read; a coalesced one is one.
    pub messages_received: AtomicU64,
    /// Bytes of those.
    pub bytes_received: AtomicU64,
    /// Messages that could not be read.
    pub messages_bad: AtomicU64,
    /// Sessions that became ready after the first.
    pub reconnections: AtomicU64,
    /// Sessions closed because the queue was full.
    pub queue_full_closes: AtomicU64,
    /// Attempts to connect, failed ones too.
    pub attempts: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
