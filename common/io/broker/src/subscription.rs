//! Consuming with backpressure: one connection, one channel, a prefetch that bounds what is held.

use crate::{Broker, BrokerError, topology};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery as LapinDelivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use std::sync::Arc;

/// How many acknowledgements may follow [`Subscription::cancel`], for all of them to be certain when
/// the channel is closed. Half of what RabbitMQ has under way for a quorum queue
/// (`quorum_commands_soft_limit`, 32).
pub const ACKNOWLEDGEMENTS_AFTER_CANCEL_MAX: usize = 16;

/// What to consume and how much to hold.
#[derive(Debug, Clone)]
pub struct SubscriptionOptions {
    /// The queue.
    pub queue: &'static str,
    /// Deliveries without an acknowledgement at one time. lapin's own buffer has no limit: this
    /// is the limit.
    pub prefetch_messages: u16,
    /// Shown in RabbitMQ's list of consumers; unique per channel.
    pub consumer_tag: String,
}

/// A message taken off a queue.
#[derive(Debug)]
pub struct Delivery {
    /// Identifies the delivery on its channel.
    pub tag: u64,
    /// The body as it came; a batch may be compressed ([`ha_batch::decompressed`]).
    pub payload: Vec<u8>,
    /// How often the message was delivered before (quorum queues count; 0 the first time).
    pub delivery_count: u64,
    /// Whether the broker says that it delivered the message before; RabbitMQ 4.3 does not count
    /// all of those.
    pub is_redelivered: bool,
    /// All headers.
    pub headers: FieldTable,
}

/// An open subscription. Dropping it gives everything unacknowledged back to the queue.
pub struct Subscription {
    broker: Arc<Broker>,
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    queue: &'static str,
    tag: String,
    is_cancelled: bool,
}

impl Subscription {
    /// Connects, checks the topology and begins to consume.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn open(
        broker: Arc<Broker>,
        options: &SubscriptionOptions,
    ) -> Result<Self, BrokerError> {
        let connection = broker.connect().await?;
        topology::ensure(&broker, &connection).await?;
        let channel = broker
            .within("channel.open", connection.create_channel())
            .await?;
        let qos = channel.basic_qos(options.prefetch_messages, BasicQosOptions::default());
        broker.within("basic.qos", qos).await?;
        let consume = channel.basic_consume(
            options.queue.into(),
            options.consumer_tag.as_str().into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = broker.within("basic.consume", consume).await?;
        let tag = options.consumer_tag.clone();
        Ok(Self {
            broker,
            connection,
            channel,
            consumer,
            queue: options.queue,
            tag,
            is_cancelled: false,
        })
    }

    /// The next delivery; `None` after [`cancel`](Self::cancel), once everything that had already
    /// arrived is handed out.
    ///
    /// # Errors
    /// [`BrokerError`]: the channel or connection is gone, and with it every delivery.
    pub async fn next(&mut self) -> Option<Result<Delivery, BrokerError>> {
        match self.consumer.next().await? {
            Ok(delivery) => Some(Ok(received(delivery))),
            Err(error) => Some(Err(self.broker.error(&error))),
        }
    }

    /// Acknowledges a delivery and, with `multiple`, all before it. It is on its way then: the broker
    /// answers nothing, and to be told that the bytes left would be a wake for each batch.
    ///
    /// # Errors
    /// [`BrokerError`]: the channel is gone; what was not acknowledged comes again. Where it goes
    /// later, [`next`](Self::next) says so.
    pub fn acknowledge(&self, tag: u64, multiple: bool) -> Result<(), BrokerError> {
        let options = BasicAckOptions { multiple };
        // The first poll hands it to the connection.
        let sent = self.channel.basic_ack(tag, options).now_or_never();
        sent.unwrap_or(Ok(()))
            .map_err(|error| self.broker.error(&error))
    }

    /// Asks for no more deliveries. Those that have arrived can still be taken and acknowledged.
    ///
    /// When this returns, the queue has every acknowledgement that was sent before. Nothing else in
    /// AMQP tells: while a quorum queue has not applied 32 acknowledgements of a channel, RabbitMQ
    /// keeps back those that follow, and forgets them when the channel closes, in good order or not
    /// (<https://github.com/rabbitmq/rabbitmq-server/issues/10327>). But it answers `basic.cancel`
    /// only when the queue has applied what it had sent there; by the time that it has answered a
    /// question to the queue after that, it has been told so, and sends on what it kept back before
    /// it looks at anything that comes later from here.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn cancel(&mut self) -> Result<(), BrokerError> {
        let cancel = self
            .channel
            .basic_cancel(self.tag.as_str().into(), BasicCancelOptions::default());
        self.broker.within("basic.cancel", cancel).await?;
        self.depth(self.queue).await?;
        self.is_cancelled = true;
        Ok(())
    }

    /// Messages that are ready in the queue that is consumed.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn waiting(&self) -> Result<u32, BrokerError> {
        self.depth(self.queue).await
    }

    /// Messages that are ready in a queue.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn depth(&self, queue: &str) -> Result<u32, BrokerError> {
        topology::depth(&self.broker, &self.channel, queue).await
    }

    /// Whether the connection and the channel still stand.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// Closes channel and connection; unacknowledged deliveries go back to the queue. When this
    /// returns in good order, everything that was acknowledged is gone from the queue: what was
    /// acknowledged before [`cancel`](Self::cancel), which is done here where it was not, and no
    /// more than [`ACKNOWLEDGEMENTS_AFTER_CANCEL_MAX`] times after it.
    ///
    /// # Errors
    /// [`BrokerError`]: what was acknowledged last may come again.
    pub async fn close(mut self) -> Result<(), BrokerError> {
        let cancelled = match self.is_cancelled {
            true => Ok(()),
            false => self.cancel().await,
        };
        let channel = self.channel.close(200, "bye".into());
        let closed = self.broker.within("channel.close", channel).await;
        let connection = self.connection.close(200, "bye".into());
        let _ = self.broker.within("connection.close", connection).await;
        cancelled.and(closed)
    }
}

pub(crate) fn received(delivery: LapinDelivery) -> Delivery {
    let headers = delivery.properties.headers().clone().unwrap_or_default();
    let delivery_count = match headers.inner().get("x-delivery-count") {
        Some(AMQPValue::LongLongInt(count)) => u64::try_from(*count).unwrap_or(0),
        Some(AMQPValue::LongInt(count)) => u64::try_from(*count).unwrap_or(0),
        Some(AMQPValue::LongUInt(count)) => u64::from(*count),
        Some(AMQPValue::ShortInt(count)) => u64::try_from(*count).unwrap_or(0),
        Some(AMQPValue::ShortShortInt(count)) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    };
    Delivery {
        tag: delivery.delivery_tag,
        payload: delivery.data,
        delivery_count,
        is_redelivered: delivery.redelivered,
        headers,
    }
}
