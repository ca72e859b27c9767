//! Frames as the product sends them at a rate, heard at the broker's exchange by a queue of our own.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use ha_broker::topology::EVENTS_EXCHANGE;
use lapin::options::{
    BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};

use crate::progress::Progress;
use crate::run::drive::drain;
use crate::run::harness::Harness;
use crate::run::settings::Load;

const LISTEN: Duration = Duration::from_secs(2);
/// Behind the last frame.
const SILENCE: Duration = Duration::from_secs(1);
const BYTES_MAX: usize = 64 << 20;

/// One frame.
#[derive(Debug, Clone)]
pub(super) struct SampleFrame {
    pub(super) payload: Vec<u8>,
    pub(super) events: u32,
}

/// Fires at the rate for a moment, and gives the frames that came of it.
pub(super) async fn hear(
    harness: &Harness,
    rate: f64,
    progress: &Progress,
) -> anyhow::Result<Vec<SampleFrame>> {
    let broker = harness.queues().context("no broker")?.broker();
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
    let firing = harness.fire_load(&Load::House(LISTEN), rate);
    let (mut frames, mut bytes) = (Vec::new(), 0);
    while let Ok(Some(delivery)) = tokio::time::timeout(SILENCE, consumer.next()).await {
        let payload = delivery?.data;
        if bytes + payload.len() > BYTES_MAX {
            continue;
        }
        bytes += payload.len();
        let events = ha_frame::decode(&payload)?.envelopes.len();
        frames.push(SampleFrame {
            events: u32::try_from(events)?,
            payload,
        });
    }
    firing.await?;
    channel
        .queue_delete(queue, QueueDeleteOptions::default())
        .await?;
    let _ = connection.close(200, "done".into()).await;
    drain(harness, progress, false).await?;
    ensure!(!frames.is_empty(), "no frame was heard at the broker");
    Ok(frames)
}
