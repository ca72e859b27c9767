//! Wakeup coalescing: a socket that is read often is read in intervals.
//!
//! Every wakeup of the thread costs as much as several events do, and a busy socket wakes it for every
//! segment that arrives. So while data keeps coming, the socket is taken out of the runtime's poll set
//! and read by a timer. What comes after a silence is read at once.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream as Unpolled};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A TCP stream that is read at most once in each interval while data keeps coming.
#[derive(Debug)]
pub(crate) struct Coalesced {
    socket: Socket,
    /// Zero reads whenever something is there.
    interval: Duration,
    /// When the last read began that found something.
    last_read: Option<Instant>,
    /// Something was read since the socket was last found empty.
    has_read: bool,
    /// The end of the interval while the socket is unpolled.
    next_read: Pin<Box<Sleep>>,
}

#[derive(Debug)]
enum Socket {
    /// Readiness wakes the reader.
    Polled(TcpStream),
    /// Only `next_read` wakes the reader.
    Unpolled(Unpolled),
    /// Between the two, and after a failure to change.
    Gone,
}

impl Coalesced {
    pub(crate) fn new(stream: TcpStream, interval: Duration) -> Self {
        Self {
            socket: Socket::Polled(stream),
            interval,
            last_read: None,
            has_read: false,
            next_read: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// The socket was read empty: whether it is to be left alone for the rest of an interval. Two reads
    /// within one interval are a stream that keeps coming.
    fn found_empty(&mut self, now: Instant) -> bool {
        if !std::mem::take(&mut self.has_read) {
            return false;
        }
        let before = self.last_read.replace(now);
        before.is_some_and(|before| now.duration_since(before) < self.interval * 3 / 2)
    }

    fn unpoll(&mut self, now: Instant) -> io::Result<()> {
        self.next_read.as_mut().reset(now + self.interval);
        self.socket = match std::mem::replace(&mut self.socket, Socket::Gone) {
            Socket::Polled(stream) => Socket::Unpolled(stream.into_std()?),
            other => other,
        };
        Ok(())
    }

    fn poll_again(&mut self) -> io::Result<&mut TcpStream> {
        self.socket = match std::mem::replace(&mut self.socket, Socket::Gone) {
            Socket::Unpolled(stream) => Socket::Polled(TcpStream::from_std(stream)?),
            other => other,
        };
        match &mut self.socket {
            Socket::Polled(stream) => Ok(stream),
            _ => Err(gone()),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket is gone")
}

impl AsyncRead for Coalesced {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.socket {
                Socket::Polled(stream) => {
                    let read = Pin::new(stream).poll_read(context, buffer);
                    if read.is_ready() {
                        this.has_read = true;
                        return read;
                    }
                    let now = Instant::now();
                    if this.interval.is_zero() || !this.found_empty(now) {
                        return Poll::Pending;
                    }
                    this.unpoll(now)?;
                }
                Socket::Unpolled(stream) => {
                    ready!(this.next_read.as_mut().poll(context));
                    match stream.read(buffer.initialize_unfilled()) {
                        Ok(read) => {
                            buffer.advance(read);
                            this.has_read = true;
                            return Poll::Ready(Ok(()));
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            let now = Instant::now();
                            if this.found_empty(now) {
                                this.unpoll(now)?;
                            } else {
                                this.poll_again()?;
                            }
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Socket::Gone => return Poll::Ready(Err(gone())),
            }
        }
    }
}

impl AsyncWrite for Coalesced {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Socket::Unpolled(stream) = &mut this.socket {
            match stream.write(bytes) {
                // A full socket: its readiness has to be waited for.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
        Pin::new(this.poll_again()?).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TCP holds nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Polled(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Unpolled(stream) => Poll::Ready(stream.shutdown(Shutdown::Write)),
            Socket::Gone => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn pair(interval: Duration) -> (Coalesced, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (peer, _) = listener.accept().await.unwrap();
        (Coalesced::new(stream.unwrap(), interval), peer)
    }

    fn is_polled(socket: &Coalesced) -> bool {
        matches!(socket.socket, Socket::Polled(_))
    }

    #[tokio::test]
    async fn everything_comes_in_order_whether_polled_or_not_and_writes_pass() {
        const BYTES: usize = 400_000;
        let (mut socket, peer) = pair(Duration::from_millis(2)).await;
        let (mut from_peer, mut to_peer) = peer.into_split();
        let sending = tokio::spawn(async move {
            for number in 0..BYTES / 100 {
                to_peer.write_all(&[number as u8; 100]).await.unwrap();
                if number % 50 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
        let answers = tokio::spawn(async move {
            let mut answers = Vec::new();
            from_peer.read_to_end(&mut answers).await.map(|_| answers)
        });
        let (mut read, mut was_unpolled, mut buffer) = (Vec::new(), false, vec![0; 4_096]);
        while read.len() < BYTES {
            let count = socket.read(&mut buffer).await.unwrap();
            assert!(count > 0);
            read.extend_from_slice(&buffer[..count]);
            was_unpolled |= !is_polled(&socket);
            socket.write_all(b"x").await.unwrap();
        }
        assert!(
            was_unpolled,
            "a stream that keeps coming is read by the timer"
        );
        let expected: Vec<u8> = (0..BYTES / 100).flat_map(|n| [n as u8; 100]).collect();
        assert!(read == expected);
        sending.await.unwrap();
        socket.shutdown().await.unwrap();
        drop(socket);
        assert!(!answers.await.unwrap().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_comes_after_a_silence_is_waited_for_by_readiness() {
        let (mut socket, mut peer) = pair(Duration::from_millis(5)).await;
        let mut byte = [0];
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            peer.write_all(b"x").await.unwrap();
            assert_eq!(socket.read(&mut byte).await.unwrap(), 1);
            assert!(is_polled(&socket));
        }
        drop(peer);
        assert_eq!(socket.read(&mut byte).await.unwrap(), 0, "the end");
    }
}
