//! Writes frames to the socket and tells the ledger which events were written whole.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use tokio::{io::AsyncWriteExt as _, net::tcp::OwnedWriteHalf};

use super::{Connection, Outgoing, SentBatch};
use crate::ledger::Ledger;

/// Frames are collected up to this size before a write.
const WRITE_BYTES: usize = 256 * 1024;

/// A run of events that is on the socket once `end` bytes of the buffer are.
struct Mark {
    end: usize,
    position: u64,
    count: usize,
}

/// Runs until the outbox ends, the connection is cut or the socket fails.
pub(super) async fn write(
    connection: Arc<Connection>,
    ledger: Arc<Ledger>,
    mut socket: OwnedWriteHalf,
) {
    let mut encoder = Encoder::default();
    let ended = loop {
        let mut items = connection.outbox().take();
        if items.is_empty() {
            tokio::select! {
                () = connection.cut.cancelled() => break false,
                () = connection.wake.notified() => continue,
            }
        }
        let coalesce = connection.coalesce.load(Ordering::Acquire);
        let mut ended = false;
        let mut failed = false;
        while !items.is_empty() && !ended && !failed {
            ended = encoder.encode(&mut items, coalesce);
            let written = write_out(&connection, &encoder.bytes, &mut socket).await;
            encoder.mark_written(written, &ledger, connection.number);
            failed = written < encoder.bytes.len();
            encoder.clear();
        }
        if ended || failed {
            break ended && !failed;
        }
    };
    connection.cut(connection.reset.load(Ordering::Acquire));
    if ended {
        let _ = socket.shutdown().await;
    }
    if connection.reset.load(Ordering::Acquire) && socket.as_ref().set_zero_linger().is_ok() {
        // Dropping the half would send FIN before the reset.
        socket.forget();
    }
}

/// Returns how many bytes the socket took before the connection was cut or failed.
async fn write_out(connection: &Connection, bytes: &[u8], socket: &mut OwnedWriteHalf) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        tokio::select! {
            biased;
            () = connection.cut.cancelled() => break,
            result = socket.write(&bytes[written..]) => match result {
                Ok(0) | Err(_) => break,
                Ok(count) => written += count,
            },
        }
    }
    written
}

#[derive(Default)]
struct Encoder {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    payload: Vec<u8>,
}

impl Encoder {
    /// Encodes `items` from the front, about `WRITE_BYTES` of them. True once the end is reached.
    fn encode(&mut self, items: &mut VecDeque<Outgoing>, coalesce: bool) -> bool {
        while self.bytes.len() < WRITE_BYTES {
            match items.front() {
                None => return false,
                Some(Outgoing::End) => return true,
                Some(Outgoing::Bytes(bytes)) => self.bytes.extend_from_slice(bytes),
                Some(Outgoing::Raw(text)) => push_text_frame(&mut self.bytes, text.as_bytes()),
                Some(Outgoing::Message(_) | Outgoing::Events { .. }) if coalesce => {
                    self.push_coalesced(items);
                    continue;
                }
                Some(Outgoing::Message(text)) => push_text_frame(&mut self.bytes, text.as_bytes()),
                Some(Outgoing::Events {
                    batch,
                    subscription,
                }) => {
                    let (batch, subscription) = (batch.clone(), *subscription);
                    for index in 0..batch.ends.len() {
                        self.payload.clear();
                        push_event(&mut self.payload, &batch, index, subscription);
                        push_text_frame(&mut self.bytes, &self.payload);
                        self.mark(&batch, index, 1);
                    }
                }
            }
            items.pop_front();
        }
        false
    }

    /// All messages at the front in one frame: an array, or the message itself if it is alone.
    fn push_coalesced(&mut self, items: &mut VecDeque<Outgoing>) {
        self.payload.clear();
        self.payload.push(b'[');
        let mut messages = 0;
        let mut runs: Vec<Arc<SentBatch>> = Vec::new();
        while let Some(Outgoing::Message(_) | Outgoing::Events { .. }) = items.front() {
            match items.pop_front() {
                Some(Outgoing::Message(text)) => {
                    self.payload.extend_from_slice(text.as_bytes());
                    self.payload.push(b',');
                    messages += 1;
                }
                Some(Outgoing::Events {
                    batch,
                    subscription,
                }) => {
                    for index in 0..batch.ends.len() {
                        push_event(&mut self.payload, &batch, index, subscription);
                        self.payload.push(b',');
                    }
                    messages += batch.ends.len();
                    runs.push(batch);
                }
                _ => {}
            }
        }
        if messages == 0 {
            return;
        }
        self.payload.pop();
        if messages == 1 {
            push_text_frame(&mut self.bytes, &self.payload[1..]);
        } else {
            self.payload.push(b']');
            push_text_frame(&mut self.bytes, &self.payload);
        }
        for batch in runs {
            self.mark(&batch, 0, batch.ends.len());
        }
    }

    /// Notes that `count` events of the batch from `index` on end where the bytes end now.
    fn mark(&mut self, batch: &SentBatch, index: usize, count: usize) {
        if let Some(position) = batch.position {
            let position = position + index as u64;
            self.marks.push(Mark {
                end: self.bytes.len(),
                position,
                count,
            });
        }
    }

    fn mark_written(&self, written: usize, ledger: &Ledger, connection: u32) {
        let mut run: Option<(u64, usize)> = None;
        for mark in self.marks.iter().take_while(|mark| mark.end <= written) {
            run = match run {
                Some((position, count)) if position + count as u64 == mark.position => {
                    Some((position, count + mark.count))
                }
                Some((position, count)) => {
                    ledger.mark_sent(position, count, connection);
                    Some((mark.position, mark.count))
                }
                None => Some((mark.position, mark.count)),
            };
        }
        if let Some((position, count)) = run {
            ledger.mark_sent(position, count, connection);
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(4 * WRITE_BYTES);
        self.payload.clear();
        self.payload.shrink_to(4 * WRITE_BYTES);
        self.marks.clear();
    }
}

/// The message of one event. The id stands last, as in Home Assistant since 2024.
fn push_event(out: &mut Vec<u8>, batch: &SentBatch, index: usize, subscription: u64) {
    let start = index.checked_sub(1).map_or(0, |before| batch.ends[before]);
    out.extend_from_slice(br#"{"type":"event","event":"#);
    out.extend_from_slice(&batch.text.as_bytes()[start..batch.ends[index]]);
    out.extend_from_slice(br#","id":"#);
    out.extend_from_slice(subscription.to_string().as_bytes());
    out.push(b'}');
}

/// An unmasked, unfragmented text frame (RFC 6455, section 5.2).
fn push_text_frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x81);
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=65_535 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
