//! What is on its way to a client, with Home Assistant's limits on how much that may be.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// The events of one tick, shared by all connections.
#[derive(Debug)]
pub(crate) struct SentBatch {
    /// The bare events' JSON, one behind the other.
    pub(crate) text: String,
    /// Where each event ends in `text`.
    pub(crate) ends: Vec<usize>,
    /// The ledger's position of the first event; `None` if the ledger does not have them.
    pub(crate) position: Option<u64>,
}

#[derive(Debug)]
pub(crate) enum Outgoing {
    /// One message an event.
    Events {
        batch: Arc<SentBatch>,
        subscription: u64,
    },
    /// A message in JSON.
    Message(String),
    /// Any text, in a frame of its own.
    Raw(Arc<str>),
    /// Bytes of the WebSocket library: the handshake and control frames.
    Bytes(Vec<u8>),
    /// Nothing comes after this.
    End,
}

impl Outgoing {
    /// How many messages Home Assistant would have in its queue for it.
    pub(crate) fn messages(&self) -> usize {
        match self {
            Self::Events { batch, .. } => batch.ends.len(),
            Self::Message(_) | Self::Raw(_) => 1,
            Self::Bytes(_) | Self::End => 0,
        }
    }
}

/// `MAX_PENDING_MSG`, `PENDING_MSG_PEAK` and `PENDING_MSG_PEAK_TIME` of Home Assistant's
/// `websocket_api/const.py`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) pending_messages_max: usize,
    pub(crate) pending_messages_peak: usize,
    pub(crate) pending_peak_max: Duration,
}

#[derive(Debug)]
pub(super) struct Outbox {
    limits: Limits,
    items: VecDeque<Outgoing>,
    pending_messages: usize,
    over_peak_since: Option<Instant>,
    shut: bool,
}

impl Outbox {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            items: VecDeque::new(),
            pending_messages: 0,
            over_peak_since: None,
            shut: false,
        }
    }

    /// False when this push is the one that cuts the client off.
    pub(super) fn push(&mut self, outgoing: Outgoing) -> bool {
        if self.shut {
            return true;
        }
        let messages = outgoing.messages();
        let over_peak = self.pending_messages > self.limits.pending_messages_peak;
        self.over_peak_since = if over_peak {
            self.over_peak_since.or_else(|| Some(Instant::now()))
        } else {
            None
        };
        let stayed_over = self
            .over_peak_since
            .is_some_and(|since| since.elapsed() >= self.limits.pending_peak_max);
        if self.pending_messages + messages > self.limits.pending_messages_max
            || (stayed_over && messages > 0)
        {
            self.shut();
            return false;
        }
        self.pending_messages += messages;
        self.items.push_back(outgoing);
        true
    }

    /// Everything that is pending; the limits count it no longer, as Home Assistant's do not count
    /// what its writer has in hand.
    pub(super) fn take(&mut self) -> VecDeque<Outgoing> {
        self.pending_messages = 0;
        std::mem::take(&mut self.items)
    }

    /// Drops what is pending and all that comes.
    pub(super) fn shut(&mut self) {
        self.shut = true;
        self.items = VecDeque::new();
        self.pending_messages = 0;
    }
}
