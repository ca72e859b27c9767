//! Events over HTTP: the worker's intake (`POST /v1/events`) and the producer's client for it.
//!
//! The answer comes after the write: 2xx means that every event is stored or is a dead letter, as
//! a confirm does on the broker's route. Whatever else happens, the sender still has the event and
//! sends it again; the same event written twice is one point.
//!
//! | status | meaning | what the sender does |
//! |---|---|---|
//! | 200 (204 with `Prefer: return=minimal`) | every event is stored | nothing |
//! | 207 | `results` says which event is stored, a dead letter, or rejected | mend the rejected |
//! | 400 | not JSON, no event in it, not a batch, bad `instance` | mend the request |
//! | 401 | no token, or another | set the token |
//! | 408 | the body came too slowly | send again |
//! | 413 | the body, its number of events, or its only event is too large | send less at once |
//! | 415 | another content type or encoding | `application/json`, or a batch; gzip, zstd or none |
//! | 429 | the intake holds as much as it may | wait for `Retry-After` seconds |
//! | 503 | the database is away; or the batch is of a newer version | wait for `Retry-After` seconds |
//!
//! Everything that a stranger can make the server hold is bounded: connections, requests, bytes of
//! bodies (decompressed ones too), events in a body, and the time that each step may take.

mod client;
mod server;
mod token;

pub use client::{Answers, ClientOptions, IntakeClient, IntakeError, parse_urls};
pub use server::{BindError, Intake, IntakeOptions, Limits};
pub use token::BearerToken;

/// Where events are posted.
pub const PATH: &str = "/v1/events";

/// Bytes of one body at most, before and after decompressing.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// What a batch may hold beside the JSON of its events: envelopes and the facts of the home.
pub const BATCH_OVERHEAD_BYTES_MAX: usize = 1 << 20;
