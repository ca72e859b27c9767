//! What a message from Home Assistant asks of the owner of the socket.

use ha_event::Facts;
use std::fmt;
use thiserror::Error;

/// One thing to do or to know, in the order in which Home Assistant said it.
#[derive(Clone, PartialEq, Eq)]
pub enum Action<'a> {
    /// Send this text. It may hold the access token: `Debug` shows its length only.
    Send(String),
    /// Authenticated, and every subscription is confirmed: from here on no event is missed.
    Ready {
        /// Home Assistant's version, as it says it.
        ha_version: String,
    },
    /// The access token was refused; Home Assistant closes the connection after this.
    AuthInvalid {
        /// Home Assistant's words.
        message: String,
    },
    /// One event.
    Event {
        /// The id of the subscription; see [`crate::Session::event_type`].
        subscription_id: u64,
        /// The bare event object, untouched: the slice of the message under `"event"`.
        json: &'a str,
        /// What was read of it on the way, where it is written as usual.
        facts: Option<Facts>,
    },
    /// An event of a type that is only watched came.
    Watched {
        /// The type's place in the list of [`crate::Session::watching`].
        place: usize,
    },
    /// The answer to a [`crate::Session::request`].
    Result {
        /// The request's id.
        id: u64,
        /// The JSON under `"result"` (`null` where there was none), or the error.
        outcome: Result<&'a str, HomeAssistantError>,
    },
    /// The answer to a [`crate::Session::ping`].
    Pong {
        /// The ping's id.
        id: u64,
    },
    /// Every subscription is cancelled: Home Assistant sends no more events.
    Unsubscribed,
    /// A part of the stream that could not be read, and was passed over.
    Bad {
        /// What is wrong with it.
        error: String,
        /// Its first bytes (at most 200).
        excerpt: String,
        /// How many messages this stands for: 1, but for the last of a very bad text, where the
        /// rest is taken together.
        count: u64,
    },
}

impl fmt::Debug for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(text) => write!(f, "Send({} bytes)", text.len()),
            Self::Ready { ha_version } => write!(f, "Ready({ha_version})"),
            Self::AuthInvalid { message } => write!(f, "AuthInvalid({message:?})"),
            Self::Event {
                subscription_id,
                json,
                ..
            } => write!(f, "Event({subscription_id}, {json})"),
            Self::Watched { place } => write!(f, "Watched({place})"),
            Self::Result { id, outcome } => write!(f, "Result({id}, {outcome:?})"),
            Self::Pong { id } => write!(f, "Pong({id})"),
            Self::Unsubscribed => f.write_str("Unsubscribed"),
            Self::Bad {
                error,
                excerpt,
                count,
            } => {
                write!(f, "Bad({error:?}, {excerpt:?}, {count})")
            }
        }
    }
}

/// An error that Home Assistant answered with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("Home Assistant answered {code}: {message}")]
pub struct HomeAssistantError {
    /// The machine-readable code, such as `unknown_command` or `unauthorized`.
    pub code: String,
    /// The words for people.
    pub message: String,
}
