//! The wire: a batch is one AMQP message, MessagePack with named fields, and holds 1..=1000
//! envelopes, each with the untouched JSON bytes of one event.
//!
//! Named fields let an old reader skip what a newer writer added. A change that an old reader
//! could not live with raises [`VERSION`], and an old reader then waits instead of guessing.

mod codec;
mod compression;
mod envelope;
mod facts;
mod usual;

pub use codec::{DecodeError, decode, encode, version};
pub use compression::{
    ZSTD, compress, compressed_from, decompress, decompressed, is_compressed, with_decompressed,
};
pub use envelope::{Batch, Envelope, Origin, Replay};
pub use facts::{EntityFacts, HomeFacts, WeatherFacts};

/// The batch layout that this build writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// Content type of a batch on AMQP and HTTP.
pub const CONTENT_TYPE: &str = "application/vnd.ha-ingestor.frame+msgpack";

/// Header: the layout version of the batch.
pub const HEADER_VERSION: &str = "x-ha-version";

/// Header, set to 1: the batch was offered before, and may have been taken then. Over HTTP a sender
/// says 0 of one that was not: there silence vouches for nothing.
pub const HEADER_AGAIN: &str = "x-ha-again";

/// Header: the number of envelopes in the batch.
pub const HEADER_COUNT: &str = "x-ha-count";
