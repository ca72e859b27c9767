//! What passes from the batcher to the routes.

use bytes::Bytes;

/// A batch ready for the route.
#[derive(Debug, Clone)]
pub struct EncodedBatch {
    /// The bytes.
    pub payload: Bytes,
    /// Envelopes in it.
    pub envelopes: u32,
    /// Those that are Home Assistant's events, and not the producer's own records.
    pub events: u32,
    /// Source time of the oldest event, nanoseconds since the epoch.
    pub oldest_ns: i64,
    /// Whether no route was offered it before. One that was may have been taken anyway.
    pub is_first_offer: bool,
    /// Its place in a trace.
    pub trace: ha_trace::Context,
}
