//! A simulated Home Assistant: the real WebSocket protocol on a real socket, a house that lives,
//! and a ledger of every event for audits.
//!
//! - [`Simulator`] is the whole: it listens, fires, breaks on demand.
//! - The house changes as the captured homes did that it was modelled on; [`Replay`] fires a
//!   capture itself.
//! - [`Ledger`] knows which events were fired, and which of them reached a socket.
//!
//! The protocol follows <https://developers.home-assistant.io/docs/api/websocket> and, where that
//! is silent, Home Assistant 2024.3. Absent on purpose: REST, services, everything that changes the
//! home from outside.

mod connection;
mod history;
mod home;
mod house;
mod inject_error;
mod json;
mod ledger;
mod machine;
mod options;
mod rate;
mod registries;
mod replay;
mod simulator;

pub use home::SimulatorStats;
pub use inject_error::InjectError;
pub use json::CROCKFORD;
pub use ledger::{Ledger, LedgerEvent, StateText};
pub use options::{HouseOptions, SimulatorOptions};
pub use registries::Registry;
pub use replay::{Replay, ReplayError};
pub use simulator::Simulator;
