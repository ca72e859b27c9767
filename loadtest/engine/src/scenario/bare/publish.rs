//! The publisher: persistent, mandatory messages with their confirms under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use futures_util::future::try_join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use tokio::sync::Semaphore;

use super::batches::SampleBatch;
use super::schedule::Schedule;

const CONFIRMS_MAX: usize = 1_000;
const PERSISTENT: u8 = 2;
/// Identifier of the message behind the last batch.
pub(super) const END: &str = "end";

/// Publishes to one queue; a batch's number goes with it, from which the consumer knows the batch.
pub(super) struct Publisher {
    channel: Channel,
    queue: ShortString,
    batches: Arc<Vec<SampleBatch>>,
    confirms: VecDeque<PublisherConfirm>,
}

impl Publisher {
    pub(super) async fn new(
        channel: Channel,
        queue: ShortString,
        batches: Arc<Vec<SampleBatch>>,
    ) -> anyhow::Result<Self> {
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            channel,
            queue,
            batches,
            confirms: VecDeque::new(),
        })
    }

    /// Publishes each batch when it is due; counts what was published. Several share the batches in
    /// turn. All is confirmed when it returns.
    pub(super) async fn on_time(
        publishers: Vec<Self>,
        schedule: &Schedule,
        lasts: Duration,
        sent: &AtomicU64,
    ) -> anyhow::Result<()> {
        let count = publishers.len();
        let all = publishers.into_iter().zip(0..).map(|(publisher, first)| {
            let numbers = (first..).step_by(count);
            publisher.in_turn(numbers, schedule, lasts, sent)
        });
        match try_join_all(all).await?.into_iter().next() {
            Some(publisher) => publisher.end().await,
            None => bail!("no publisher"),
        }
    }

    async fn in_turn(
        mut self,
        numbers: impl Iterator<Item = u64>,
        schedule: &Schedule,
        lasts: Duration,
        sent: &AtomicU64,
    ) -> anyhow::Result<Self> {
        let end = schedule.begun() + lasts;
        for number in numbers {
            let due = schedule.due(number);
            // A publisher that is behind has until the end, too.
            if due > end || Instant::now() >= end {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            self.publish(schedule, number).await?;
            sent.fetch_add(schedule.events(number).into(), Ordering::Relaxed);
        }
        self.settle(0).await?;
        Ok(self)
    }

    /// Publishes batches until they hold this many events, as fast as they go.
    pub(super) async fn all(mut self, schedule: &Schedule, events: u64) -> anyhow::Result<u64> {
        let mut sent = 0;
        for number in 0.. {
            if sent >= events {
                break;
            }
            self.publish(schedule, number).await?;
            sent += u64::from(schedule.events(number));
        }
        self.end().await?;
        Ok(sent)
    }

    /// For ever, as fast as the window of unwritten events lets it.
    pub(super) async fn within(
        mut self,
        schedule: &Schedule,
        window: &Semaphore,
    ) -> anyhow::Result<std::convert::Infallible> {
        for number in 0.. {
            let events = schedule.events(number);
            window.acquire_many(events).await?.forget();
            self.publish(schedule, number).await?;
        }
        bail!("there are no more numbers")
    }

    async fn publish(&mut self, schedule: &Schedule, number: u64) -> anyhow::Result<()> {
        let batches = Arc::clone(&self.batches);
        let payload = &batches[schedule.place(number)].payload;
        self.send(&number.to_string(), payload).await
    }

    async fn send(&mut self, id: &str, payload: &[u8]) -> anyhow::Result<()> {
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(id.into());
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let queue = self.queue.clone();
        let published =
            self.channel
                .basic_publish(ShortString::default(), queue, options, payload, properties);
        self.confirms.push_back(published.await?);
        self.settle(CONFIRMS_MAX).await
    }

    /// Waits until no more than `unconfirmed_max` are unconfirmed.
    async fn settle(&mut self, unconfirmed_max: usize) -> anyhow::Result<()> {
        while self.confirms.len() > unconfirmed_max
            && let Some(oldest) = self.confirms.pop_front()
        {
            if !matches!(oldest.await?, Confirmation::Ack(None)) {
                bail!("the broker did not take a message of the bare chain");
            }
        }
        Ok(())
    }

    /// Says that nothing comes any more.
    async fn end(mut self) -> anyhow::Result<()> {
        self.send(END, b"").await?;
        self.settle(0).await
    }
}
