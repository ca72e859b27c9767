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

/// Room that a thread keeps for the frames to come; a larger one has its own.
const KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    // A context is some hundred kilobytes, not to be made for each frame.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    // Frames are some hundred kilobytes, too: the allocator tidies itself up for each.
    static UNPACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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
    let mut frame = Vec::new();
    unpack_into(packed, &mut frame)?;
    Ok(frame)
}

/// The frame of a payload that may be packed; the payload itself where it is not, or cannot be
/// unpacked and so is no frame.
#[must_use]
pub fn unpacked(payload: Vec<u8>) -> Vec<u8> {
    match is_packed(&payload) {
        true => unpack(&payload).unwrap_or(payload),
        false => payload,
    }
}

/// Gives what [`unpacked`] gives to `look`, without room of its own.
pub fn with_unpacked<T>(payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> T {
    if !is_packed(payload) {
        return look(payload);
    }
    let mut frame = UNPACKED.take();
    frame.clear();
    let found = match unpack_into(payload, &mut frame) {
        Ok(()) => look(&frame),
        Err(_) => look(payload),
    };
    if frame.capacity() <= KEPT_BYTES_MAX {
        UNPACKED.set(frame);
    }
    found
}

/// Unpacks to an empty vector.
fn unpack_into(packed: &[u8], frame: &mut Vec<u8>) -> io::Result<()> {
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
        frame.reserve_exact(size as usize);
        decompressor.decompress_to_buffer(packed, frame)?;
        Ok(())
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
        assert_eq!(unpacked(packed.clone()), frame.as_bytes());
        assert_eq!(unpacked(b"a frame".to_vec()), b"a frame");
        let small = pack(b"small").unwrap();
        for _ in 0..2 {
            with_unpacked(&packed, |payload| assert_eq!(payload, frame.as_bytes()));
            with_unpacked(&small, |payload| assert_eq!(payload, b"small"));
            with_unpacked(b"a frame", |payload| assert_eq!(payload, b"a frame"));
        }
    }

    #[test]
    fn rubbish_torn_frames_lies_and_bombs_are_errors() {
        let packed = pack(b"a frame").unwrap();
        for torn in 0..packed.len() {
            assert!(unpack(&packed[..torn]).is_err(), "{torn} bytes");
        }
        assert!(unpack(b"not packed").is_err());
        assert_eq!(unpacked(packed[..5].to_vec()), packed[..5]);
        with_unpacked(&packed[..5], |payload| assert_eq!(payload, &packed[..5]));
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
