//! Batches compressed for a narrow line or a small disk: Zstandard (RFC 8878), as the message's content
//! encoding says.

use std::cell::RefCell;
use std::io;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::get_frame_content_size;

/// The content encoding of a compressed batch, on AMQP and HTTP.
pub const ZSTD: &str = "zstd";

/// `FRAME_BYTES_MAX` and `EVENT_BYTES_MAX` at their most, and the envelopes.
const DECOMPRESSED_BYTES_MAX: u64 = 34 << 20;

/// Faster than the regular ones: three quarters of the time of level 1, for half as many bytes again
/// (`cargo bench -p ha-frame`).
const LEVEL: i32 = -3;

/// Room that a thread keeps for the batches to come; a larger one has its own.
const KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    // A context is some hundred kilobytes, not to be made for each batch.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    // Batches are some hundred kilobytes, too: the allocator tidies itself up for each.
    static DECOMPRESSED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Packs, fast rather than small.
///
/// # Errors
/// None that memory does not make.
pub fn compress(batch: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(LEVEL)?),
        };
        let mut compressed = compressor.compress(batch)?;
        // It was made for what cannot be compressed.
        compressed.shrink_to_fit();
        Ok(compressed)
    })
}

/// The batch compressed, if it has at least this many bytes; `None` where it is to travel as it is.
#[must_use]
pub fn compressed_from(bytes_min: Option<usize>, batch: &[u8]) -> Option<Vec<u8>> {
    bytes_min.filter(|least| batch.len() >= *least)?;
    compress(batch).ok()
}

/// Whether the bytes begin as compressed ones do. No batch does: in MessagePack that is a number.
#[must_use]
pub fn is_compressed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// Unpacks what [`compress`] compressed.
///
/// # Errors
/// Not Zstandard, not whole, or what it says of its size is nothing, a lie, or more than 34 MiB: no batch.
pub fn decompress(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut batch = Vec::new();
    decompress_into(compressed, &mut batch)?;
    Ok(batch)
}

/// The batch of a payload that may be compressed; the payload itself where it is not, or cannot be
/// decompressed and so is no batch.
#[must_use]
pub fn decompressed(payload: Vec<u8>) -> Vec<u8> {
    match is_compressed(&payload) {
        true => decompress(&payload).unwrap_or(payload),
        false => payload,
    }
}

/// Gives what [`decompressed`] gives to `look`, without room of its own.
pub fn with_decompressed<T>(payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> T {
    if !is_compressed(payload) {
        return look(payload);
    }
    let mut batch = DECOMPRESSED.take();
    batch.clear();
    let found = match decompress_into(payload, &mut batch) {
        Ok(()) => look(&batch),
        Err(_) => look(payload),
    };
    if batch.capacity() <= KEPT_BYTES_MAX {
        DECOMPRESSED.set(batch);
    }
    found
}

/// Unpacks to an empty vector.
fn decompress_into(compressed: &[u8], batch: &mut Vec<u8>) -> io::Result<()> {
    let size = match get_frame_content_size(compressed) {
        Ok(Some(size)) => size,
        Ok(None) => return Err(io::Error::other("it does not say its size")),
        Err(_) => return Err(io::Error::other("not Zstandard")),
    };
    if size > DECOMPRESSED_BYTES_MAX {
        return Err(io::Error::other("more than 34 MiB"));
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        // Nothing is taken beyond what the size said.
        batch.reserve_exact(size as usize);
        decompressor.decompress_to_buffer(compressed, batch)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_is_smaller_and_comes_back() {
        let batch = r#"{"entity_id":"sensor.a","state":"1"}"#.repeat(1_000);
        let compressed = compress(batch.as_bytes()).unwrap();
        assert!(is_compressed(&compressed));
        assert!(
            compressed.len() * 10 < batch.len(),
            "{} bytes",
            compressed.len()
        );
        assert_eq!(decompress(&compressed).unwrap(), batch.as_bytes());
        assert_eq!(decompress(&compress(&[]).unwrap()).unwrap(), b"");
        assert_eq!(decompressed(compressed.clone()), batch.as_bytes());
        assert_eq!(decompressed(b"a batch".to_vec()), b"a batch");
        let small = compress(b"small").unwrap();
        for _ in 0..2 {
            with_decompressed(&compressed, |payload| assert_eq!(payload, batch.as_bytes()));
            with_decompressed(&small, |payload| assert_eq!(payload, b"small"));
            with_decompressed(b"a batch", |payload| assert_eq!(payload, b"a batch"));
        }
    }

    #[test]
    fn rubbish_torn_batches_lies_and_bombs_are_errors() {
        let compressed = compress(b"a batch").unwrap();
        for torn in 0..compressed.len() {
            assert!(decompress(&compressed[..torn]).is_err(), "{torn} bytes");
        }
        assert!(decompress(b"not compressed").is_err());
        assert_eq!(decompressed(compressed[..5].to_vec()), compressed[..5]);
        with_decompressed(&compressed[..5], |payload| {
            assert_eq!(payload, &compressed[..5])
        });
        let bomb = compress(&vec![0; DECOMPRESSED_BYTES_MAX as usize + 1]).unwrap();
        assert!(decompress(&bomb).is_err());
        // One after the other: the first says how large it is, the second comes on top.
        let two = [compressed.as_slice(), &compressed].concat();
        assert!(decompress(&two).is_err());
        // After all that the same thread still decompresses.
        assert_eq!(decompress(&compressed).unwrap(), b"a batch");
    }

    #[test]
    fn one_that_does_not_say_its_size_is_an_error() {
        let streamed = zstd::stream::encode_all(&b"a batch"[..], LEVEL).unwrap();
        let error = decompress(&streamed).unwrap_err();
        assert!(error.to_string().contains("size"), "{error}");
    }
}
