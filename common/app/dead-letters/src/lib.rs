//! Where dead letters are kept: at the broker, or in the spool database of a process without one.

use bytes::Bytes;
use futures_util::future::join_all;
use ha_broker::{Delivery, Header, Outgoing, Publisher, topology};
use ha_frame::Replay;
use ha_pipeline::letter::{HEADER_FIRST_FAILED_AT, HEADER_REPLAYS};
use ha_pipeline::{DeadLetters, Letter};
use ha_resilience::Backoff;
use ha_spool::{Spool, StoredLetter};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Letters as messages of the exchange `ha.dead-letters`.
#[derive(Debug)]
pub struct BrokerLetters {
    publisher: Publisher,
}

impl BrokerLetters {
    /// Letters over the given publisher.
    #[must_use]
    pub fn new(publisher: Publisher) -> Self {
        Self { publisher }
    }
}

impl DeadLetters for BrokerLetters {
    async fn deliver(&self, letters: Vec<Letter>) {
        // The caller ends this by dropping it; until then a letter is tried for ever.
        let never = CancellationToken::new();
        let sent = letters.iter().map(|letter| {
            let message = letter_message(letter.headers(), letter.payload.clone());
            self.publisher.publish_until_delivered(message, &never)
        });
        join_all(sent).await;
    }
}

/// A letter as a message of the exchange `ha.dead-letters`.
#[must_use]
pub fn letter_message(headers: Vec<(String, String)>, payload: Bytes) -> Outgoing {
    Outgoing {
        exchange: topology::DEAD_LETTERS_EXCHANGE,
        routing_key: String::new(),
        payload,
        content_type: ha_frame::CONTENT_TYPE,
        headers: headers
            .into_iter()
            .map(|(name, value)| (name, Header::Text(value)))
            .collect(),
    }
}

/// What the headers of a replayed letter say, for the letter that it may become again.
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

/// Letters as rows of the spool database.
#[derive(Debug)]
pub struct SpoolLetters {
    spool: Spool,
}

impl SpoolLetters {
    /// Letters in the given spool.
    #[must_use]
    pub fn new(spool: Spool) -> Self {
        Self { spool }
    }
}

impl DeadLetters for SpoolLetters {
    async fn deliver(&self, letters: Vec<Letter>) {
        let stored: Vec<_> = letters
            .into_iter()
            .map(|letter| StoredLetter {
                id: *Uuid::now_v7().as_bytes(),
                headers: letter.headers(),
                failed_at_ns: letter.failed_at_ns,
                payload: letter.payload,
            })
            .collect();
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            match self.spool.put_letters(stored.clone()).await {
                Ok(0) => return,
                Ok(dropped) => {
                    tracing::warn!(
                        dropped,
                        "the letter store is full; the oldest letters were dropped"
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
pub enum LetterStore {
    /// At the broker.
    Broker(BrokerLetters),
    /// In the spool database.
    Spool(SpoolLetters),
}

impl DeadLetters for LetterStore {
    async fn deliver(&self, letters: Vec<Letter>) {
        match self {
            Self::Broker(store) => store.deliver(letters).await,
            Self::Spool(store) => store.deliver(letters).await,
        }
    }
}
