//! Records: what the producer itself has to say, as events in the stream. They go the same way as
//! Home Assistant's events, so that they are stored in every mode, but they are none of those: they
//! have no number, and nothing counts them as events.

use bytes::Bytes;
use ha_event::UtcMicros;
use ha_pipeline::now_ns;
use serde::Serialize;

/// A record, not yet in a frame.
#[derive(Debug)]
pub struct Record {
    /// The event's bytes.
    pub json: Bytes,
    /// When it was made, nanoseconds since the epoch.
    pub time_ns: i64,
}

#[derive(Serialize)]
struct Event<'a, T> {
    event_type: &'a str,
    data: &'a T,
    origin: &'static str,
    time_fired: String,
}

impl Record {
    /// An event of this type, fired now.
    ///
    /// # Errors
    /// Data that JSON cannot hold.
    pub fn new(event_type: &str, data: &impl Serialize) -> Result<Self, serde_json::Error> {
        let time_ns = now_ns();
        let json = serde_json::to_vec(&Event {
            event_type,
            data,
            origin: "LOCAL",
            time_fired: UtcMicros(time_ns.div_euclid(1_000)).to_string(),
        })?;
        Ok(Self {
            json: json.into(),
            time_ns,
        })
    }
}
