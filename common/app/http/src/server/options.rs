//! What the intake is made of, and its limits.

use crate::BearerToken;
use std::net::SocketAddr;
use std::time::Duration;

/// The longest header section, and the step in which bodies are read.
pub(crate) const BUFFER_BYTES_MAX: usize = 64 << 10;

/// What the intake is made of.
#[derive(Debug, Clone)]
pub struct IntakeOptions {
    /// Where to listen (`INTAKE_ADDR`); port 0 takes a free one.
    pub address: SocketAddr,
    /// What senders must present (`INTAKE_TOKEN`); may be missing on a loopback address only.
    pub token: Option<BearerToken>,
    /// The home's name for bare events whose request does not name one (`INSTANCE_NAME`).
    pub instance: String,
    /// What a stranger can make the process hold.
    pub limits: Limits,
}

/// Limits of the intake.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one bare event (`EVENT_BYTES_MAX`).
    pub event_bytes_max: usize,
    /// Bytes of one body, before and after decompressing.
    pub body_bytes_max: usize,
    /// Events of one body.
    pub body_events_max: usize,
    /// Requests at one time.
    pub requests_max: usize,
    /// Bytes of bodies at one time, from their arrival until they are stored.
    pub held_bytes_max: usize,
    /// Connections at one time; more wait in the listener's backlog.
    pub connections_max: usize,
    /// For the header section, and for the next request of a connection.
    pub header_timeout: Duration,
    /// For the body.
    pub body_timeout: Duration,
    /// For the write, from the end of the body on.
    pub store_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes_max: 256 << 10,
            body_bytes_max: crate::BODY_BYTES_MAX,
            body_events_max: 20_000,
            requests_max: 256,
            held_bytes_max: 64 << 20,
            connections_max: 512,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(10),
            store_timeout: Duration::from_secs(10),
        }
    }
}
