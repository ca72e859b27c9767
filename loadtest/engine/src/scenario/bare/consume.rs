//! The consumer: takes what arrives, fills batches, has them written, acknowledges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesOrdered};
use futures_util::{FutureExt as _, StreamExt as _};
use hdrhistogram::Histogram;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};

use super::lines::Lines;
use super::publish::END;
use super::schedule::Schedule;
use super::writer::Writer;

const BATCH_LINES: u64 = 5_000;
const BATCH_AGE: Duration = Duration::from_millis(10);
/// While a write is under way, or with many events.
const BATCH_AGE_UNDER_LOAD: Duration = Duration::from_millis(40);
const MANY_EVENTS: u64 = 100;
const WRITES_IN_FLIGHT: usize = 4;
const PREFETCH_BATCHES: u16 = 2_000;

/// One batch, come to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    events: u32,
    due: Instant,
    tag: u64,
}

/// Batches that arrive; it ends where the sender says so.
pub(super) type Arrivals = BoxStream<'static, anyhow::Result<Arrival>>;

/// Batches from a queue.
pub(super) async fn delivered(
    channel: &Channel,
    queue: ShortString,
    schedule: Schedule,
) -> anyhow::Result<Arrivals> {
    channel
        .basic_qos(PREFETCH_BATCHES, BasicQosOptions::default())
        .await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel
        .basic_consume(queue, "bare".into(), options, FieldTable::default())
        .await?;
    let next = |(mut consumer, schedule): (Consumer, Schedule)| async move {
        let arrival = match consumer.next().await {
            Some(Ok(delivery)) => {
                let id = delivery.properties.message_id().as_ref();
                let id = id.map_or("", ShortString::as_str);
                if id == END {
                    return None;
                }
                let arrival = |number: u64| Arrival {
                    events: schedule.events(number),
                    due: schedule.due(number),
                    tag: delivery.delivery_tag,
                };
                let number = id
                    .parse()
                    .context("a message that is not of the bare chain");
                number.map(arrival)
            }
            Some(Err(error)) => Err(error.into()),
            None => Err(anyhow::anyhow!("the consumer of the bare chain has ended")),
        };
        Some((arrival, (consumer, schedule)))
    };
    Ok(futures_util::stream::unfold((consumer, schedule), next).boxed())
}

/// Batches made here, each when it is due; without a time limit they never end.
pub(super) fn made(schedule: Schedule, lasts: Option<Duration>) -> Arrivals {
    let end = lasts.map(|lasts| schedule.begun() + lasts);
    let next = move |(schedule, number): (Schedule, u64)| async move {
        let due = schedule.due(number);
        if end.is_some_and(|end| due > end) {
            return None;
        }
        tokio::time::sleep_until(due.into()).await;
        let arrival = Arrival {
            events: schedule.events(number),
            due,
            tag: 0,
        };
        Some((Ok(arrival), (schedule, number + 1)))
    };
    futures_util::stream::unfold((schedule, 0), next).boxed()
}

/// Batches that are written together.
#[derive(Debug, Default)]
struct WriteBatch {
    events: u64,
    batches: Vec<Arrival>,
}

/// What was written: when its answer came, and the batches.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) events: u64,
    pub(super) answered: Instant,
    batches: Vec<Arrival>,
}

impl Written {
    /// Adds how long each event took, in microseconds, from when it was due.
    pub(super) fn record(&self, latencies: &mut Histogram<u64>) -> anyhow::Result<()> {
        for batch in &self.batches {
            let took = self.answered.saturating_duration_since(batch.due);
            let took_us = u64::try_from(took.as_micros())?.max(1);
            latencies.record_n(took_us, u64::from(batch.events))?;
        }
        Ok(())
    }
}

/// Batches as the product's: what comes alone, then 5,000 events or those of 10 ms, or of 40 with
/// more than 100 events or while others are under way.
pub(super) struct Consumption<'a> {
    arrivals: Arrivals,
    have_ended: bool,
    /// Where to acknowledge.
    channel: Option<Channel>,
    /// Without one there is nothing to write.
    writing: Option<(&'a mut Lines, Arc<Writer>)>,
    open: WriteBatch,
    /// When the last batch was.
    left: tokio::time::Instant,
    under_way: FuturesOrdered<BoxFuture<'static, anyhow::Result<Written>>>,
}

impl<'a> Consumption<'a> {
    pub(super) fn new(
        arrivals: Arrivals,
        channel: Option<Channel>,
        writing: Option<(&'a mut Lines, Arc<Writer>)>,
    ) -> Self {
        Self {
            arrivals,
            have_ended: false,
            channel,
            writing,
            open: WriteBatch::default(),
            left: tokio::time::Instant::now(),
            under_way: FuturesOrdered::new(),
        }
    }

    /// The next batch that was written and acknowledged; `None` when everything was.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Written>> {
        loop {
            while !self.is_full()
                && !self.have_ended
                && let Some(arrival) = self.arrivals.next().now_or_never()
            {
                self.take(arrival)?;
            }
            let free = self.under_way.len() < WRITES_IN_FLIGHT;
            let full = self.is_full();
            let any = self.open.events > 0;
            let is_load = !self.under_way.is_empty() || self.open.events > MANY_EVENTS;
            let age = match is_load {
                true => BATCH_AGE_UNDER_LOAD,
                false => BATCH_AGE,
            };
            let old = self.have_ended || self.left.elapsed() >= age;
            if free && any && (full || old) {
                self.write();
                continue;
            }
            if self.have_ended && !any && self.under_way.is_empty() {
                return Ok(None);
            }
            tokio::select! {
                arrival = self.arrivals.next(), if !full && !self.have_ended => self.take(arrival)?,
                () = tokio::time::sleep_until(self.left + age), if free && any => {}
                Some(written) = self.under_way.next(), if !self.under_way.is_empty() => {
                    let written = written?;
                    self.acknowledge(&written).await?;
                    return Ok(Some(written));
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.open.events >= BATCH_LINES
    }

    /// Takes a batch, or the end.
    fn take(&mut self, arrival: Option<anyhow::Result<Arrival>>) -> anyhow::Result<()> {
        let Some(arrival) = arrival else {
            self.have_ended = true;
            return Ok(());
        };
        let arrival = arrival?;
        self.open.events += u64::from(arrival.events);
        self.open.batches.push(arrival);
        Ok(())
    }

    fn write(&mut self) {
        let WriteBatch { events, batches } = std::mem::take(&mut self.open);
        self.left = tokio::time::Instant::now();
        let written = move || Written {
            events,
            answered: Instant::now(),
            batches,
        };
        let writing = match &mut self.writing {
            Some((lines, writer)) => {
                let write = writer.write(lines, events);
                async move { write.await.map(|()| written()) }.boxed()
            }
            None => async move { Ok(written()) }.boxed(),
        };
        self.under_way.push_back(writing);
    }

    async fn acknowledge(&self, written: &Written) -> anyhow::Result<()> {
        if let (Some(channel), Some(last)) = (&self.channel, written.batches.last()) {
            let options = BasicAckOptions { multiple: true };
            channel.basic_ack(last.tag, options).await?;
        }
        Ok(())
    }
}
