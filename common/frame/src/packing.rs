//! Frames packed for a narrow line or a small disk: gzip, as the message's content encoding says.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, Read as _, Write as _};

/// The content encoding of a packed frame, on AMQP and HTTP.
pub const GZIP: &str = "gzip";

/// `FRAME_BYTES_MAX` and `EVENT_BYTES_MAX` at their most, and the envelopes.
const UNPACKED_BYTES_MAX: u64 = 34 << 20;

/// Packs at the fastest level.
///
/// # Errors
/// None that memory does not make.
pub fn pack(frame: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(frame.len() / 4), Compression::new(1));
    encoder.write_all(frame)?;
    encoder.finish()
}

/// The frame packed, if it has so many bytes; `None` where it is to travel as it is.
#[must_use]
pub fn packed_from(bytes_min: Option<usize>, frame: &[u8]) -> Option<Vec<u8>> {
    bytes_min.filter(|least| frame.len() >= *least)?;
    pack(frame).ok()
}

/// Whether the bytes begin as packed ones do. No frame does: in MessagePack that is a number.
#[must_use]
pub fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Unpacks what [`pack`] packed.
///
/// # Errors
/// Not gzip, not whole, or of more than 34 MiB: no frame.
pub fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(packed.len() * 4);
    let mut decoder = GzDecoder::new(packed).take(UNPACKED_BYTES_MAX + 1);
    decoder.read_to_end(&mut frame)?;
    if frame.len() as u64 > UNPACKED_BYTES_MAX {
        return Err(io::Error::other("more than 34 MiB"));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_smaller_and_comes_back() {
        let frame = r#"{"entity_id":"sensor.a","state":"1"}"#.repeat(1_000);
        let packed = pack(frame.as_bytes()).unwrap();
        assert!(packed.len() * 10 < frame.len(), "{} bytes", packed.len());
        assert_eq!(unpack(&packed).unwrap(), frame.as_bytes());
        assert_eq!(unpack(&pack(&[]).unwrap()).unwrap(), b"");
    }

    #[test]
    fn rubbish_torn_frames_and_bombs_are_errors() {
        let packed = pack(b"a frame").unwrap();
        for torn in 0..packed.len() {
            assert!(unpack(&packed[..torn]).is_err(), "{torn} bytes");
        }
        assert!(unpack(b"not gzip").is_err());
        let bomb = pack(&vec![0; UNPACKED_BYTES_MAX as usize + 1]).unwrap();
        assert!(unpack(&bomb).is_err());
    }
}
