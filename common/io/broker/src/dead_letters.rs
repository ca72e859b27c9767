//! The dead-letter queue, looked at: dead letters are delivered and held unacknowledged on one channel.
//! At the end all that were not taken are given back in their order: reading changes nothing but
//! the delivery count that the broker keeps.
//!
//! Two ways of quorum queues (RabbitMQ 3.10) shape this. A consumer is handed no more than its
//! prefetch (2,000 at most) before it acknowledges, and `basic.get`, which has no such limit, makes
//! a consumer of every message and grows slow with their number (measured: 100,000 dead letters took
//! over five minutes, and take seconds this way). So dead letters are read by one consumer after the
//! other: one that is full is cancelled, which leaves it what it holds. And what is given back for
//! more than 32 messages or consumers at once returns in any order, so it is given back in small
//! pieces.

use crate::subscription::{ACKNOWLEDGEMENTS_AFTER_CANCEL_MAX, received};
use crate::{Broker, BrokerError, Delivery, topology};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Dead letters that a consumer is handed. They may all be in memory, each with a batch of up to 1 MiB.
const PREFETCH_DEAD_LETTERS: u16 = 256;

/// The queue has ended when nothing arrives for this long, twice, while nothing is ready in it.
const QUIET: Duration = Duration::from_millis(100);

/// Messages of one `basic.nack`, and how many of those are sent before waiting for the queue.
const GIVE_BACK_DEAD_LETTERS: usize = 30;
const GIVE_BACK_NACKS: usize = 30;

/// The queue is looked at so often until it has them …
const GIVE_BACK_LOOK: Duration = Duration::from_millis(2);
/// The longest wait for that.
const GIVE_BACK_STALLED: Duration = Duration::from_secs(10);

/// The dead letters of `ha.dead-letters`, oldest first.
pub struct DeadLetterReader {
    broker: Arc<Broker>,
    connection: Connection,
    channel: Channel,
    consumer: Option<Consumer>,
    /// Consumers so far: their tags are told apart by it.
    consumers: u64,
    /// Arrived while their consumer was being cancelled.
    arrived: VecDeque<Delivery>,
    /// Tags of the dead letters that were handed out and not taken (eight bytes a dead letter) …
    held: BTreeSet<u64>,
    /// How many of those are the consumer's: those from this tag on.
    held_by_consumer: usize,
    consumer_from: u64,
    /// Taken since a consumer was cancelled the last time. What is taken before that the queue has
    /// for certain; of more than a few after it, it may not ([`crate::Subscription::cancel`]).
    taken_since_cancel: usize,
    exhausted: bool,
}

impl std::fmt::Debug for DeadLetterReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LetterReader")
            .field("broker", &self.broker)
            .finish_non_exhaustive()
    }
}

impl DeadLetterReader {
    /// Connects, and checks the topology.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn open(broker: Arc<Broker>) -> Result<Self, BrokerError> {
        let connection = broker.connect().await?;
        topology::ensure(&broker, &connection).await?;
        let channel = broker
            .within("channel.open", connection.create_channel())
            .await?;
        let qos = channel.basic_qos(PREFETCH_DEAD_LETTERS, BasicQosOptions::default());
        broker.within("basic.qos", qos).await?;
        Ok(Self {
            broker,
            connection,
            channel,
            consumer: None,
            consumers: 0,
            arrived: VecDeque::new(),
            held: BTreeSet::new(),
            held_by_consumer: 0,
            consumer_from: 0,
            taken_since_cancel: 0,
            exhausted: false,
        })
    }

    /// Dead letters in the queue that nobody holds.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn depth(&self) -> Result<u32, BrokerError> {
        topology::depth(&self.broker, &self.channel, topology::DEAD_LETTERS_QUEUE).await
    }

    /// Batches that wait for a worker.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn waiting_batches(&self) -> Result<u32, BrokerError> {
        topology::depth(&self.broker, &self.channel, topology::EVENTS_QUEUE).await
    }

    /// The next dead letter; `None` when the queue is empty. It stays in the queue, held by this
    /// reader, until it is [taken](Self::take) or the reader ends.
    ///
    /// Not cancel safe: a dead letter on its way would be held and never handed out.
    ///
    /// # Errors
    /// [`BrokerError`]: the channel is gone, and every dead letter that was not taken is in the queue.
    pub async fn next(&mut self) -> Result<Option<Delivery>, BrokerError> {
        let mut was_quiet = false;
        loop {
            if let Some(delivery) = self.arrived.pop_front() {
                return Ok(Some(delivery));
            }
            if self.exhausted {
                return Ok(None);
            }
            if self.held_by_consumer >= usize::from(PREFETCH_DEAD_LETTERS) {
                self.cancel().await?;
            }
            let consumer = self.consumer().await?;
            match tokio::time::timeout(QUIET, consumer.next()).await {
                Ok(Some(Ok(delivery))) => {
                    let delivery = received(delivery);
                    self.hold(delivery.tag);
                    return Ok(Some(delivery));
                }
                Ok(Some(Err(error))) => return Err(self.broker.error(&error)),
                Ok(None) => {
                    return Err(BrokerError::Closed("the broker ended the consumer".into()));
                }
                Err(_) if self.depth().await? > 0 => was_quiet = false,
                Err(_) if was_quiet => {
                    self.cancel().await?;
                    self.exhausted = true;
                }
                Err(_) => was_quiet = true,
            }
        }
    }

    /// The consumer; a new one where there is none.
    async fn consumer(&mut self) -> Result<&mut Consumer, BrokerError> {
        Ok(match &mut self.consumer {
            Some(consumer) => consumer,
            none => {
                self.consumers += 1;
                // The broker gives back the dead letters of several consumers in the order of
                // these texts.
                let tag = format!("letters-{:010}", self.consumers);
                let consume = self.channel.basic_consume(
                    topology::DEAD_LETTERS_QUEUE.into(),
                    tag.into(),
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                );
                none.insert(self.broker.within("basic.consume", consume).await?)
            }
        })
    }

    fn hold(&mut self, tag: u64) {
        self.held.insert(tag);
        self.held_by_consumer += 1;
        if self.consumer_from == 0 {
            self.consumer_from = tag;
        }
    }

    /// The consumer gets no more; what it has been handed it still holds.
    async fn cancel(&mut self) -> Result<(), BrokerError> {
        let Some(mut consumer) = self.consumer.take() else {
            return Ok(());
        };
        let options = BasicCancelOptions::default();
        let cancel = self.channel.basic_cancel(consumer.tag(), options);
        self.broker.within("basic.cancel", cancel).await?;
        self.taken_since_cancel = 0;
        while let Some(delivery) = consumer.next().await {
            let delivery = received(delivery.map_err(|error| self.broker.error(&error))?);
            self.hold(delivery.tag);
            self.arrived.push_back(delivery);
        }
        (self.held_by_consumer, self.consumer_from) = (0, 0);
        Ok(())
    }

    /// Takes one dead letter out of the queue for good.
    ///
    /// # Errors
    /// [`BrokerError`]: the channel is gone; the dead letter is in the queue.
    pub async fn take(&mut self, tag: u64) -> Result<(), BrokerError> {
        let ack = self.channel.basic_ack(tag, BasicAckOptions::default());
        self.broker.within("basic.ack", ack).await?;
        self.taken_since_cancel += 1;
        if self.held.remove(&tag) && self.consumer_from > 0 && tag >= self.consumer_from {
            self.held_by_consumer = self.held_by_consumer.saturating_sub(1);
        }
        Ok(())
    }

    /// In their order; the channel must stay open until the last one is back.
    async fn give_back(&mut self) -> Result<(), BrokerError> {
        // Only that a consumer is cancelled makes certain what was taken. What this one is handed
        // goes back with the others.
        if self.taken_since_cancel > ACKNOWLEDGEMENTS_AFTER_CANCEL_MAX {
            self.consumer().await?;
        }
        self.cancel().await?;
        let tags: Vec<u64> = self.held.iter().copied().collect();
        let mut depth = self.depth().await?;
        for some in tags.chunks(GIVE_BACK_DEAD_LETTERS * GIVE_BACK_NACKS) {
            for few in some.chunks(GIVE_BACK_DEAD_LETTERS) {
                // All that are held up to this one, which are these few: those before are back.
                let last = few.last().copied().unwrap_or_default();
                let options = BasicNackOptions {
                    multiple: true,
                    requeue: true,
                };
                let nack = self.channel.basic_nack(last, options);
                self.broker.within("basic.nack", nack).await?;
            }
            let expected = depth.saturating_add(u32::try_from(some.len()).unwrap_or(u32::MAX));
            let began = Instant::now();
            loop {
                depth = self.depth().await?;
                if depth >= expected {
                    break;
                }
                if began.elapsed() > GIVE_BACK_STALLED {
                    // Somebody else takes dead letters at the same time: there is no order to keep,
                    // and closing gives back the rest.
                    return Ok(());
                }
                tokio::time::sleep(GIVE_BACK_LOOK).await;
            }
        }
        Ok(())
    }

    /// Gives back everything that was not taken, and closes. What was taken is gone when this
    /// returns.
    ///
    /// # Errors
    /// [`BrokerError`]: what was taken last may still be in the queue.
    pub async fn close(mut self) -> Result<(), BrokerError> {
        self.give_back().await?;
        let closed = self.channel.close(200, "bye".into());
        self.broker.within("channel.close", closed).await?;
        let connection = self.connection.close(200, "bye".into());
        let _ = self.broker.within("connection.close", connection).await;
        Ok(())
    }
}

impl Delivery {
    /// A header as a text: of texts, and of numbers in digits.
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<String> {
        text(self.headers.inner().get(name)?)
    }

    /// A header as a whole number: of numbers, and of texts that hold one.
    #[must_use]
    pub fn header_number(&self, name: &str) -> Option<i64> {
        self.header_text(name)?.parse().ok()
    }

    /// All headers that are texts or numbers.
    #[must_use]
    pub fn header_texts(&self) -> Vec<(String, String)> {
        let headers = self.headers.inner().iter();
        headers
            .filter_map(|(name, value)| Some((name.to_string(), text(value)?)))
            .collect()
    }

    /// Why and when the broker itself made a dead letter of this message (the newest entry of
    /// `x-death`): its word for the reason, the queue, and seconds since the epoch.
    #[must_use]
    pub fn death(&self) -> Option<Death> {
        let AMQPValue::FieldArray(deaths) = self.headers.inner().get("x-death")? else {
            return None;
        };
        let AMQPValue::FieldTable(newest) = deaths.as_slice().first()? else {
            return None;
        };
        let field = |name: &str| newest.inner().get(name).and_then(text);
        Some(Death {
            reason: field("reason")?,
            queue: field("queue").unwrap_or_default(),
            at_s: field("time").and_then(|time| time.parse().ok()),
        })
    }
}

/// Why the broker made a dead letter of a message.
/// <https://www.rabbitmq.com/docs/dlx#effects>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: String,
    /// The queue that it was in.
    pub queue: String,
    /// When, seconds since the epoch.
    pub at_s: Option<i64>,
}

fn text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(number) => number.to_string(),
        AMQPValue::ShortShortUInt(number) => number.to_string(),
        AMQPValue::ShortInt(number) => number.to_string(),
        AMQPValue::ShortUInt(number) => number.to_string(),
        AMQPValue::LongInt(number) => number.to_string(),
        AMQPValue::LongUInt(number) => number.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        AMQPValue::Timestamp(seconds) => seconds.to_string(),
        _ => return None,
    })
}
