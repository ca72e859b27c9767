use bytes::Bytes;
use ha_event::UtcMicros;

/// An event that did not come over the subscription.
#[derive(Debug)]
pub struct BackfilledEvent {
    /// Its entity.
    pub entity_id: String,
    /// Its source time.
    pub time: UtcMicros,
    /// A `state_changed` event as Home Assistant would have sent it.
    pub json: Bytes,
}
