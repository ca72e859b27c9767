//! Home Assistant's WebSocket API as a state machine: text in, actions and text to send out.
//!
//! The rules come from Home Assistant's developer documentation, "WebSocket API", and from the
//! behaviour of versions 2024.3 to 2025.4. There is no socket, clock or runtime in here:
//! [`Session`] is one connection's conversation, and the owner of the socket feeds it.
//!
//! Invariants:
//! - One subscription per event type; ids only rise.
//! - An event costs one pass of the JSON parser and no allocation: actions borrow from the text.
//! - Rubbish is a value ([`Action::Bad`]), never a panic, and never hides its neighbours in a
//!   coalesced message.
//! - The access token appears in the one text that sends it and nowhere else.

mod action;
mod message;
mod session;
mod token;

pub use action::{Action, HomeAssistantError};
pub use message::{BadMessage, Message, read_messages};
pub use session::{ProtocolError, Session};
pub use token::AccessToken;
