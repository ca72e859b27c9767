//! The wire: a frame is one AMQP message, MessagePack with named fields, and holds 1..=1000
//! envelopes, each with the untouched JSON bytes of one event.
//!
//! Named fields let an old reader pass over what a newer writer added. A change that an old reader
//! could not live with raises [`VERSION`], and an old reader then waits instead of guessing.

mod codec;
mod envelope;
mod facts;
mod packing;
mod usual;

pub use codec::{DecodeError, decode, encode, version};
pub use envelope::{Envelope, Frame, Origin, Replay};
pub use facts::{EntityFacts, HomeFacts, WeatherFacts};
pub use packing::{ZSTD, is_packed, pack, packed_from, unpack, unpacked, with_unpacked};

/// The frame layout that this build writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// Content type of a frame on AMQP and HTTP.
pub const CONTENT_TYPE: &str = "application/vnd.ha-ingestor.frame+msgpack";

/// Header: the layout version of the frame.
pub const HEADER_VERSION: &str = "x-ha-version";

/// Header, set to 1: the frame was offered before, and may have been taken then. Over HTTP a sender
/// says 0 of one that was not: there silence vouches for nothing.
pub const HEADER_AGAIN: &str = "x-ha-again";

/// Header: the number of envelopes in the frame.
pub const HEADER_COUNT: &str = "x-ha-count";
