//! Reading a body: no more of it than the limits allow, and no longer.

use super::options::{BUFFER_BYTES_MAX, Limits};
use super::refusal::Refusal;
use axum::body::Body;
use axum::http::StatusCode;
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt as _;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A refused sender that is still sending is read up to these limits, and all of it is thrown
/// away: closing at once would reset the connection, and the sender would never see its answer.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 64 << 20;

/// Compressed bodies larger than this are decompressed off the async threads.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// 8 MiB, what RFC 8878 asks every decoder to bear, so that a few bytes cannot have more set aside.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A body, with its share of the bytes that may be held.
#[derive(Debug)]
pub(crate) struct ReadBody {
    pub bytes: Vec<u8>,
    pub permit: OwnedSemaphorePermit,
}

/// Reads the body to its end.
pub(crate) async fn read(
    body: &mut Body,
    held: &Arc<Semaphore>,
    limits: &Limits,
) -> Result<ReadBody, Refusal> {
    let reading = async {
        let mut read = ReadBody {
            bytes: Vec::new(),
            permit: share(held, 0)?,
        };
        while let Some(part) = body.frame().await {
            let part = part.map_err(|error| {
                Refusal::new(
                    StatusCode::BAD_REQUEST,
                    format!("the body was cut off: {error}"),
                )
            })?;
            let Ok(data) = part.into_data() else { continue };
            if read.bytes.len() + data.len() > limits.body_bytes_max {
                return Err(too_large(limits));
            }
            read.permit.merge(share(held, data.len())?);
            read.bytes.extend_from_slice(&data);
        }
        Ok(read)
    };
    tokio::time::timeout(limits.body_timeout, reading)
        .await
        .unwrap_or_else(|_| {
            let seconds = limits.body_timeout.as_secs_f32();
            let error = format!("the body did not arrive within {seconds} s");
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, error))
        })
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => ha_batch::ZSTD,
        })
    }
}

/// Unpacks a body within the same limits.
pub(crate) async fn decompressed(
    compressed: ReadBody,
    compression: Compression,
    held: &Arc<Semaphore>,
    limits: &Limits,
) -> Result<ReadBody, Refusal> {
    if compressed.bytes.len() <= INLINE_BYTES_MAX {
        return decompress(&compressed, compression, held, limits);
    }
    let (held, limits) = (Arc::clone(held), limits.clone());
    off_the_async_threads(move || decompress(&compressed, compression, &held, &limits)).await
}

/// Runs what takes milliseconds where it holds nobody up.
pub(crate) async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string(),
            ))
        })
}

fn decompress(
    compressed: &ReadBody,
    compression: Compression,
    held: &Arc<Semaphore>,
    limits: &Limits,
) -> Result<ReadBody, Refusal> {
    let not_whole = |error: io::Error| {
        let error = format!("the body is not whole {compression}: {error}");
        Refusal::new(StatusCode::BAD_REQUEST, error)
    };
    let bytes = compressed.bytes.as_slice();
    let mut decoder: Box<dyn Read> = match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(bytes)),
        Compression::Zstd => Box::new(zstd_decoder(bytes).map_err(not_whole)?),
    };
    let mut read = ReadBody {
        bytes: Vec::new(),
        permit: share(held, 0)?,
    };
    let mut buffer = vec![0; BUFFER_BYTES_MAX];
    loop {
        let count = decoder.read(&mut buffer).map_err(not_whole)?;
        if count == 0 {
            return Ok(read);
        }
        if read.bytes.len() + count > limits.body_bytes_max {
            return Err(too_large(limits));
        }
        read.permit.merge(share(held, count)?);
        read.bytes.extend_from_slice(&buffer[..count]);
    }
}

fn zstd_decoder(bytes: &[u8]) -> io::Result<zstd::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::Decoder::with_buffer(bytes)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

pub(crate) fn too_large(limits: &Limits) -> Refusal {
    let error = format!("the body is larger than {} bytes", limits.body_bytes_max);
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
}

fn share(held: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
    let count = u32::try_from(bytes).unwrap_or(u32::MAX);
    Arc::clone(held)
        .try_acquire_many_owned(count)
        .map_err(|_| Refusal::full())
}

/// Reads on and throws away, so that the sender gets to its answer.
pub(crate) async fn linger(mut body: Body) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(part)) = body.frame().await {
            bytes += part.data_ref().map_or(0, |data| data.len());
            if bytes > LINGER_BYTES_MAX {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIMEOUT, reading).await;
}
