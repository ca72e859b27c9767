//! Records: what the producer itself has to say, as events in the stream. They go the same way as
//! Home Assistant's events, so that they are stored in every mode, but they are none of those: they
//! have no number, and nothing counts them as events.

use bytes::Bytes;
use ha_event::UtcMicros;
use ha_pipeline::now_ns;
use ha_telemetry::Health;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the first internal events wait for the connections.
const RECORDS_WAIT_MAX: Duration = Duration::from_secs(10);

/// A record, not yet in a batch.
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

/// Relays internal events to the batcher once everything is connected, or after a wait. Otherwise the
/// first of them would find the route away and send the events after them into the spool.
pub async fn relay(
    mut made: mpsc::Receiver<Record>,
    records: mpsc::Sender<Record>,
    health: Health,
) {
    let connected = async {
        while !health.reasons().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let _ = tokio::time::timeout(RECORDS_WAIT_MAX, connected).await;
    while let Some(record) = made.recv().await {
        if records.send(record).await.is_err() {
            return;
        }
    }
}
