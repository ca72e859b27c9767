//! The reader: reads, stamps, hands on, and waits for nothing but the socket.

use crate::connection::{Link, Socket};
use crate::queue::{QueueBytes, QueuePermit};
use crate::state::{Counters, Ended, add};
use futures_util::{Stream, StreamExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// How long the other side may take over its half of the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A text message as it came.
pub(crate) struct Received {
    pub(crate) text: Utf8Bytes,
    pub(crate) received_at_ns: i64,
    pub(crate) permit: QueuePermit,
}

/// When anything at all was last received. In nanoseconds: rounded down any further, the answer to
/// a ping on a fast network would seem to have come before it.
#[derive(Clone)]
pub(crate) struct LastReceived {
    start: Instant,
    at_ns: Arc<AtomicU64>,
}

impl LastReceived {
    pub(crate) fn now() -> Self {
        Self {
            start: Instant::now(),
            at_ns: Arc::default(),
        }
    }

    fn touch(&self) {
        let at_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.at_ns.store(at_ns, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Instant {
        self.start + Duration::from_nanos(self.at_ns.load(Ordering::Relaxed))
    }
}

pub(crate) struct Reader {
    pub(crate) stream: futures_util::stream::SplitStream<Socket>,
    pub(crate) link: Link,
    pub(crate) queue: QueueBytes,
    /// Unbounded in messages, because `queue` bounds it in bytes.
    pub(crate) out: UnboundedSender<Received>,
    pub(crate) last_received: LastReceived,
    pub(crate) counters: Arc<Counters>,
}

impl Reader {
    /// Reads until the connection ends or is ended. Dropping `out` tells the driver.
    pub(crate) async fn run(mut self) {
        let closed = self.link.closed.clone();
        loop {
            let read = tokio::select! {
                biased;
                () = closed.cancelled() => return,
                read = self.stream.next() => read,
            };
            self.last_received.touch();
            let reason = match read {
                Some(Ok(Message::Text(text))) => match self.hand_on(text) {
                    Ok(()) => continue,
                    Err(reason) => reason,
                },
                Some(Ok(Message::Close(frame))) => {
                    finish_closing(&mut self.stream).await;
                    frame.map_or(
                        Ended::Closed {
                            code: 1005,
                            reason: String::new(),
                        },
                        |frame| Ended::Closed {
                            code: frame.code.into(),
                            reason: frame.reason.as_str().to_owned(),
                        },
                    )
                }
                Some(Ok(Message::Binary(_))) => {
                    // Home Assistant's API is text; nothing of ours asks for binary.
                    add(&self.counters.messages_bad, 1);
                    continue;
                }
                // Pings are answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                None | Some(Err(Error::ConnectionClosed)) => {
                    Ended::Lost("the connection was closed".to_owned())
                }
                Some(Err(error)) => Ended::Lost(error.to_string()),
            };
            self.link.end(reason);
            return;
        }
    }

    fn hand_on(&self, text: Utf8Bytes) -> Result<(), Ended> {
        let received_at_ns = unix_now_ns();
        let bytes = text.len();
        let Some(permit) = self.queue.share(bytes) else {
            add(&self.counters.queue_full_closes, 1);
            return Err(Ended::QueueFull);
        };
        add(&self.counters.messages_received, 1);
        add(&self.counters.bytes_received, bytes as u64);
        // The driver outlives the reader unless the whole source was dropped.
        self.out
            .send(Received {
                text,
                received_at_ns,
                permit,
            })
            .map_err(|_| Ended::Lost("nobody listens".to_owned()))
    }
}

/// Reads on until the library has answered the close frame and the other side has hung up.
async fn finish_closing(stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin)) {
    let end = async { while let Some(Ok(_)) = stream.next().await {} };
    // A peer that does not hang up is hung up on.
    let _ = timeout(CLOSE_TIMEOUT, end).await;
}

/// The system clock in nanoseconds since 1970; 0 for a clock before that.
pub(crate) fn unix_now_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}
