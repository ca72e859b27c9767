//! Frames packed for a narrow line or a small disk: Zstandard (RFC 8878), as the message's content
//! encoding says.

use std::cell::RefCell;
use std::io;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::get_frame_content_size;

/// The content encoding of a packed frame, on AMQP and HTTP.
pub const ZSTD: &str = "zstd";

/// `FRAME_BYTES_MAX` and `EVENT_BYTES_MAX` at their most, and the envelopes.
const UNPACKED_BYTES_MAX: u64 = 34 << 20;

/// Faster than the regular ones: three quarters of the time of level 1, for half as many bytes again
/// (`cargo bench -p ha-frame`).
const LEVEL: i32 = -3;

thread_local! {
    // A context is some hundred kilobytes, not to be made for each frame.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Packs, fast rather than small.
///
/// # Errors
/// None that memory does not make.
pub fn pack(frame: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(LEVEL)?),
        };
        let mut packed = compressor.compress(frame)?;
        // It was made for what cannot be packed.
        packed.shrink_to_fit();
        Ok(packed)
    })
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
    bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// Unpacks what [`pack`] packed.
///
/// # Errors
/// Not Zstandard, not whole, or what it says of its size is nothing, a lie, or more than 34 MiB: no frame.
pub fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let size = match get_frame_content_size(packed) {
        Ok(Some(size)) => size,
        Ok(None) => return Err(io::Error::other("it does not say its size")),
        Err(_) => return Err(io::Error::other("not Zstandard")),
    };
    if size > UNPACKED_BYTES_MAX {
        return Err(io::Error::other("more than 34 MiB"));
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        // Nothing is taken beyond what the size said.
        decompressor.decompress(packed, size as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_smaller_and_comes_back() {
        let frame = r#"{"entity_id":"sensor.a","state":"1"}"#.repeat(1_000);
        let packed = pack(frame.as_bytes()).unwrap();
        assert!(is_packed(&packed));
        assert!(packed.len() * 10 < frame.len(), "{} bytes", packed.len());
        assert_eq!(unpack(&packed).unwrap(), frame.as_bytes());
        assert_eq!(unpack(&pack(&[]).unwrap()).unwrap(), b"");
    }

    #[test]
    fn rubbish_torn_frames_lies_and_bombs_are_errors() {
        let packed = pack(b"a frame").unwrap();
        for torn in 0..packed.len() {
            assert!(unpack(&packed[..torn]).is_err(), "{torn} bytes");
        }
        assert!(unpack(b"not packed").is_err());
        let bomb = pack(&vec![0; UNPACKED_BYTES_MAX as usize + 1]).unwrap();
        assert!(unpack(&bomb).is_err());
        // One after the other: the first says how large it is, the second comes on top.
        let two = [packed.as_slice(), &packed].concat();
        assert!(unpack(&two).is_err());
        // After all that the same thread still unpacks.
        assert_eq!(unpack(&packed).unwrap(), b"a frame");
    }

    #[test]
    fn one_that_does_not_say_its_size_is_an_error() {
        let streamed = zstd::stream::encode_all(&b"a frame"[..], LEVEL).unwrap();
        let error = unpack(&streamed).unwrap_err();
        assert!(error.to_string().contains("size"), "{error}");
    }
}
