//! The socket to Home Assistant: one connection, kept for ever.
//!
//! ```text
//! socket ─► reader ─(bounded in bytes)─► driver ─(the same bytes)─► SourceEvents ─► the caller
//!              writer ◄──────────────────── driver ◄── Requester
//! ```
//!
//! Invariants:
//! - The reader only reads, stamps and hands on. It waits for nothing but the socket, because Home
//!   Assistant cuts a client that reads slowly. A caller that lags lengthens the queue; when the
//!   bytes run out, the reader closes the connection itself and [`Ended::QueueFull`] says so.
//! - The driver ([`ha_protocol::Session`] and its deadlines) never waits for the caller either, so
//!   that pings and requests are answered while events pile up.
//! - A message's bytes are given back when the last event of it is dropped, wherever that is.
//! - One connection at a time: the next is opened only after both tasks of the last have ended.
//! - Whatever ends a session, a clean close by Home Assistant included, the source connects again.
//!   Only the shutdown token ends [`Source::run`].

mod coalesced;
mod connection;
mod driver;
mod event;
mod options;
mod queue;
mod reader;
mod requester;
mod source;
mod state;
mod writer;

pub use event::{ReceivedEvent, SourceEvent};
pub use options::{OptionsError, SourceOptions};
pub use queue::QueuePermit;
pub use requester::{RequestError, Requester};
pub use source::{Source, SourceEvents};
pub use state::{ConnectionState, Counters, Ended};
