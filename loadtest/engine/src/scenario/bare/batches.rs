//! Batches as the product sends them at a rate, heard at the broker's exchange by a queue of our own.

use std::time::Duration;

use anyhow::{bail, ensure};
use futures_util::StreamExt as _;
use ha_broker::Broker;
use ha_broker::topology::EVENTS_EXCHANGE;
use lapin::options::{
    BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::drive::{await_reported, drain};
use crate::harness::Harness;
use crate::plan::Load;
use crate::progress::Progress;

/// What a sample should have; it lasts from two seconds to four.
const SAMPLE_EVENTS: f64 = 10_000.0;
const LISTEN_S: std::ops::RangeInclusive<f64> = 2.0..=4.0;
/// Behind the last batch.
const SILENCE: Duration = Duration::from_secs(1);
const BYTES_MAX: usize = 64 << 20;

/// One batch.
#[derive(Debug, Clone)]
pub(super) struct SampleBatch {
    pub(super) payload: Vec<u8>,
    pub(super) events: u32,
}

/// How long a sample at this rate lasts.
pub(super) fn listen(rate: f64) -> Duration {
    let seconds = SAMPLE_EVENTS / rate;
    Duration::from_secs_f64(seconds.clamp(*LISTEN_S.start(), *LISTEN_S.end()))
}

/// Fires at the rate for a moment, and waits until everything is stored; gives the batches that came
/// of it, where there is a broker.
pub(super) async fn sample(
    harness: &Harness,
    rate: f64,
    progress: &Progress,
) -> anyhow::Result<Option<Vec<SampleBatch>>> {
    let batches = match harness.queues() {
        Some(queues) => Some(hear(harness, &queues.broker(), rate).await?),
        None => {
            harness.fire_load(&Load::House(listen(rate)), rate).await?;
            None
        }
    };
    await_reported(harness, progress).await;
    drain(harness, progress, false).await?;
    Ok(batches)
}

async fn hear(harness: &Harness, broker: &Broker, rate: f64) -> anyhow::Result<Vec<SampleBatch>> {
    let connection = broker.connect().await?;
    let channel = connection.create_channel().await?;
    let declare = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(ShortString::default(), declare, FieldTable::default());
    let queue = declared.await?.name().clone();
    let exchange = ShortString::from(EVENTS_EXCHANGE);
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(
            queue.clone(),
            exchange,
            "#".into(),
            bind,
            FieldTable::default(),
        )
        .await?;
    let consume = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let mut consumer = channel
        .basic_consume(
            queue.clone(),
            "frames".into(),
            consume,
            FieldTable::default(),
        )
        .await?;
    let firing = harness.fire_load(&Load::House(listen(rate)), rate);
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while let Ok(Some(delivery)) = tokio::time::timeout(SILENCE, consumer.next()).await {
        let delivery = delivery?;
        let payload = delivery.data;
        if bytes + payload.len() > BYTES_MAX {
            continue;
        }
        bytes += payload.len();
        let headers = delivery.properties.headers().as_ref();
        let count = headers.and_then(|headers| headers.inner().get(ha_batch::HEADER_COUNT));
        let events = match count {
            Some(AMQPValue::LongLongInt(count)) => *count,
            _ => bail!("a message without {}", ha_batch::HEADER_COUNT),
        };
        batches.push(SampleBatch {
            events: u32::try_from(events)?,
            payload,
        });
    }
    firing.await?;
    channel
        .queue_delete(queue, QueueDeleteOptions::default())
        .await?;
    let _ = connection.close(200, "done".into()).await;
    ensure!(!batches.is_empty(), "no batch was heard at the broker");
    Ok(batches)
}
