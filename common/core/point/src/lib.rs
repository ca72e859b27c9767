//! Points and their encodings: InfluxDB's line protocol, and rows for the embedded database.
//!
//! A [`Point`] borrows from the event it was made of and lives only until it is encoded; what waits
//! to be written is the encoding, in a [`PointBuffer`].

mod buffer;
mod json;
mod line;
mod parts;
mod point;

pub use buffer::{Format, Lines, PointBuffer};
pub use json::Row;
pub use line::encode_line;
pub use parts::{LineField, LineParts};
pub use point::{FieldKey, Point, Prefix, Value};
