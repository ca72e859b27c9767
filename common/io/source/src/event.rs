use crate::queue::QueuePermit;
use crate::state::Ended;
use bytes::Bytes;
use ha_event::Facts;

/// What the source tells, in the order in which it happened.
#[derive(Debug)]
pub enum SourceEvent {
    /// Every subscription is confirmed. Events may have come shortly before it.
    Connected {
        /// Home Assistant's version.
        ha_version: String,
        /// When, in nanoseconds since 1970.
        at_ns: i64,
    },
    /// An event.
    Event(ReceivedEvent),
    /// A part of the stream that could not be read.
    Bad {
        /// What is wrong with it.
        error: String,
        /// Its first bytes.
        excerpt: String,
        /// How many messages this stands for.
        count: u64,
        /// When it came, in nanoseconds since 1970.
        received_at_ns: i64,
        /// Its share of the queue.
        permit: QueuePermit,
    },
    /// The connection that was announced by the last `Connected` has ended.
    Disconnected {
        /// Why.
        reason: Ended,
        /// When, in nanoseconds since 1970.
        at_ns: i64,
    },
}

/// One event as Home Assistant sent it.
#[derive(Debug, Clone)]
pub struct ReceivedEvent {
    /// The bare event object: a slice of the received message, not a copy.
    pub json: Bytes,
    /// What was read of it on the way, where it is written as usual.
    pub facts: Option<Facts>,
    /// When its message was read from the socket, in nanoseconds since 1970.
    pub received_at_ns: i64,
    /// Its share of the queue; keep it as long as `json`, so that memory stays bounded.
    pub permit: QueuePermit,
}
