//! The writer: its own task, so that a peer that does not read stalls neither reading nor driving.

use crate::connection::{Link, Socket};
use crate::state::Ended;
use futures_util::SinkExt as _;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Writer {
    pub(crate) sink: futures_util::stream::SplitSink<Socket, Message>,
    pub(crate) link: Link,
    pub(crate) messages: Receiver<Message>,
    pub(crate) write_timeout: Duration,
}

impl Writer {
    /// Writes until the connection is ended, then says goodbye as well as it can.
    pub(crate) async fn run(mut self) {
        let closed = self.link.closed.clone();
        loop {
            let message = tokio::select! {
                biased;
                () = closed.cancelled() => break,
                message = self.messages.recv() => message,
            };
            let Some(message) = message else {
                closed.cancelled().await;
                break;
            };
            let written = tokio::select! {
                biased;
                () = closed.cancelled() => break,
                written = timeout(self.write_timeout, self.sink.send(message)) => written,
            };
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.link.end(Ended::Lost(error.to_string())),
                Err(_) => self.link.end(Ended::TimedOut("writing to the socket")),
            }
        }
        // The connection is given up whatever comes of this.
        let _ = timeout(CLOSE_TIMEOUT, self.sink.close()).await;
    }
}
