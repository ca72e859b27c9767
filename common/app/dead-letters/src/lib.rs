//! Where dead letters are kept: at the broker, or in the spool database of a process without one.

use bytes::Bytes;
use futures_util::future::join_all;
use ha_batch::Replay;
use ha_broker::{Delivery, Header, Outgoing, Publisher, topology};
use ha_pipeline::dead_letter::{HEADER_FIRST_FAILED_AT, HEADER_REPLAYS};
use ha_pipeline::{DeadLetter, DeadLetterStore};
use ha_resilience::Backoff;
use ha_spool::{Spool, StoredDeadLetter};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Dead letters as messages of the exchange `ha.dead-letters`.
#[derive(Debug)]
pub struct BrokerDeadLetters {
    publisher: Publisher,
}

impl BrokerDeadLetters {
    /// Dead letters over the given publisher.
    #[must_use]
    pub fn new(publisher: Publisher) -> Self {
        Self { publisher }
    }
}

impl DeadLetterStore for BrokerDeadLetters {
    async fn deliver(&self, dead_letters: Vec<DeadLetter>) {
        // The caller ends this by dropping it; until then a dead letter is tried for ever.
        let never = CancellationToken::new();
        let sent = dead_letters.iter().map(|dead_letter| {
            let message = dead_letter_message(dead_letter.headers(), dead_letter.payload.clone());
            self.publisher.publish_until_delivered(message, &never)
        });
        join_all(sent).await;
    }
}

/// A dead letter as a message of the exchange `ha.dead-letters`.
#[must_use]
pub fn dead_letter_message(headers: Vec<(String, String)>, payload: Bytes) -> Outgoing {
    Outgoing {
        exchange: topology::DEAD_LETTERS_EXCHANGE,
        routing_key: String::new(),
        payload,
        content_type: ha_batch::CONTENT_TYPE,
        headers: headers
            .into_iter()
            .map(|(name, value)| (name, Header::Text(value)))
            .collect(),
    }
}

/// What the headers of a replayed dead letter say, for the dead letter that it may become again.
#[must_use]
pub fn replay(delivery: &Delivery) -> Option<Replay> {
    let count = delivery
        .header_number(HEADER_REPLAYS)
        .and_then(|count| u32::try_from(count).ok())?;
    let first_failed_at_ns = delivery.header_number(HEADER_FIRST_FAILED_AT)?;
    Some(Replay {
        count,
        first_failed_at_ns,
    })
}

/// Dead letters as rows of the spool database.
#[derive(Debug)]
pub struct SpoolDeadLetters {
    spool: Spool,
}

impl SpoolDeadLetters {
    /// Dead letters in the given spool.
    #[must_use]
    pub fn new(spool: Spool) -> Self {
        Self { spool }
    }
}

impl DeadLetterStore for SpoolDeadLetters {
    async fn deliver(&self, dead_letters: Vec<DeadLetter>) {
        let stored: Vec<_> = dead_letters
            .into_iter()
            .map(|dead_letter| StoredDeadLetter {
                id: *Uuid::now_v7().as_bytes(),
                headers: dead_letter.headers(),
                failed_at_ns: dead_letter.failed_at_ns,
                payload: dead_letter.payload,
            })
            .collect();
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            match self.spool.put_dead_letters(stored.clone()).await {
                Ok(0) => return,
                Ok(dropped) => {
                    tracing::warn!(
                        dropped,
                        "the dead letter store is full; the oldest dead letters were dropped"
                    );
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "dead letters cannot be stored; trying again")
                }
            }
            tokio::time::sleep(backoff.next_random()).await;
        }
    }
}

/// Either of the two.
#[derive(Debug)]
pub enum DeadLetterPlace {
    /// At the broker.
    Broker(BrokerDeadLetters),
    /// In the spool database.
    Spool(SpoolDeadLetters),
}

impl DeadLetterStore for DeadLetterPlace {
    async fn deliver(&self, dead_letters: Vec<DeadLetter>) {
        match self {
            Self::Broker(store) => store.deliver(dead_letters).await,
            Self::Spool(store) => store.deliver(dead_letters).await,
        }
    }
}
