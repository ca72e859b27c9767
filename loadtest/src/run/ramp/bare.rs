//! The bare chain: a publisher, a consumer and a line writer with the bytes that the product moves,
//! and no product in between. What it moves is what broker and database take on this machine.
//!
//! It publishes persistent messages with confirms to a quorum queue, consumes with acknowledgements
//! after the write, and writes as the product does: 5,000 lines a request, four requests under way,
//! gzip at level 1. It pushes as hard as the window of unwritten events lets it, so that its queue
//! cannot grow either.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::frames::{SampleFrame, hear};
use super::lines::Lines;
use crate::progress::Progress;
use crate::run::harness::{Harness, WriteTarget};
use crate::run::report::rounded;

const BATCH_LINES: u64 = 5_000;
const BATCH_AGE: Duration = Duration::from_millis(10);
const WRITES_IN_FLIGHT: usize = 4;
/// Events that were published and are not written.
const WINDOW_EVENTS: usize = 40_000;
const CONFIRMS_MAX: usize = 1_000;
const PREFETCH_FRAMES: u16 = 2_000;
/// Not counted.
const WARM_UP: Duration = Duration::from_secs(1);
const PERSISTENT: u8 = 2;
const CLOSING_MAX: Duration = Duration::from_secs(10);

/// What went through.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Bare {
    /// Of `publish`, `consume` and `write`, those that there are in this mode with this sink.
    parts: Vec<&'static str>,
    /// Events through all parts, a second.
    pub(super) events_per_s: f64,
    seconds: f64,
    events: u64,
    /// Bytes of a frame, on average.
    frame_bytes: Option<f64>,
    /// Events in a frame, on average.
    frame_events: Option<f64>,
    /// Bytes of a line, on average.
    line_bytes: Option<f64>,
}

/// What has been done so far, and since when it counts.
struct Count {
    begun: Instant,
    warm: Option<(Instant, u64)>,
    events: u64,
    lasts: Duration,
}

impl Count {
    fn new(lasts: Duration) -> Self {
        Self {
            begun: Instant::now(),
            warm: None,
            events: 0,
            lasts,
        }
    }

    /// Adds; false when the time is over.
    fn add(&mut self, events: u64) -> bool {
        self.events += events;
        match self.warm {
            None if self.begun.elapsed() >= WARM_UP => {
                self.warm = Some((Instant::now(), self.events));
                true
            }
            None => true,
            Some((since, _)) => since.elapsed() < self.lasts,
        }
    }

    /// Seconds and events that count.
    fn counted(&self) -> (f64, u64) {
        let (since, before) = self.warm.unwrap_or((self.begun, 0));
        (since.elapsed().as_secs_f64(), self.events - before)
    }
}

/// Measures for so long, beside the idle product.
pub(super) async fn measure(
    harness: &Harness,
    rate: f64,
    lasts: Duration,
    progress: &Progress,
) -> anyhow::Result<Bare> {
    let target = harness.bare_target().await?;
    let mut lines = match &target {
        Some(target) => Some(Lines::of_house(harness.plan().entities, &target.instance)?),
        None => None,
    };
    let line_bytes = lines.as_ref().map(Lines::mean_bytes);
    let writer = target.map(Writer::new).map(Arc::new);
    let frames = match harness.queues() {
        Some(_) => Some(hear(harness, rate, progress).await?),
        None => None,
    };
    let mut parts = Vec::new();
    if frames.is_some() {
        parts.extend(["publish", "consume"]);
    }
    if writer.is_some() {
        parts.push("write");
    }
    let mean = |of: fn(&SampleFrame) -> usize| {
        let frames = frames.as_ref()?;
        let sum: usize = frames.iter().map(of).sum();
        Some(rounded(sum as f64 / frames.len() as f64))
    };
    let (frame_bytes, frame_events) = (
        mean(|frame| frame.payload.len()),
        mean(|frame| frame.events as usize),
    );
    progress.step(&format!(
        "bare {} for {} s",
        parts.join(", "),
        lasts.as_secs()
    ));
    let count = Count::new(lasts);
    let (seconds, events) = match (frames, &mut lines, writer) {
        (Some(frames), lines, writer) => {
            chain(harness, frames, lines.as_mut(), writer, count).await?
        }
        (None, Some(lines), Some(writer)) => write_only(lines, &writer, count).await?,
        _ => bail!("neither a broker nor a database: there is no bare chain"),
    };
    Ok(Bare {
        parts,
        events_per_s: rounded(events as f64 / seconds.max(1e-3)),
        seconds: rounded(seconds),
        events,
        frame_bytes,
        frame_events,
        line_bytes,
    })
}

/// Writes as fast as the database answers.
async fn write_only(
    lines: &mut Lines,
    writer: &Arc<Writer>,
    mut count: Count,
) -> anyhow::Result<(f64, u64)> {
    let mut writing = FuturesOrdered::new();
    loop {
        while writing.len() < WRITES_IN_FLIGHT {
            writing.push_back(writer.write(lines, BATCH_LINES));
        }
        if let Some(written) = writing.next().await {
            written?;
        }
        if !count.add(BATCH_LINES) {
            return Ok(count.counted());
        }
    }
}

async fn chain(
    harness: &Harness,
    frames: Vec<SampleFrame>,
    lines: Option<&mut Lines>,
    writer: Option<Arc<Writer>>,
    count: Count,
) -> anyhow::Result<(f64, u64)> {
    let broker = harness.queues().context("no broker")?.broker();
    // Separate connections, as the product has.
    let (publishing, consuming) = (broker.connect().await?, broker.connect().await?);
    let queue = ShortString::try_new(ha_services::Services::unique_name("bare"))
        .map_err(|_| anyhow::anyhow!("the queue's name is too long"))?;
    let (to, from) = (
        publishing.create_channel().await?,
        consuming.create_channel().await?,
    );
    let mut arguments = FieldTable::default();
    let quorum = AMQPValue::LongString("quorum".into());
    arguments.insert("x-queue-type".into(), quorum);
    let declare = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    to.queue_declare(queue.clone(), declare, arguments).await?;
    let window = Arc::new(Semaphore::new(WINDOW_EVENTS));
    let sizes: Vec<u32> = frames.iter().map(|frame| frame.events).collect();
    let publish = publish(to, queue.clone(), frames, Arc::clone(&window));
    let consume = consume(&from, queue.clone(), sizes, lines, writer, &window, count);
    let counted = tokio::select! {
        failed = publish => match failed? {},
        counted = consume => counted,
    };
    // RabbitMQ may hold a publisher that has been told to wait for a queue which is gone then, and
    // reads not even its close. What is left is closed with the process.
    let closing = async {
        let _ = publishing.close(200, "done".into()).await;
        let _ = from
            .queue_delete(queue, QueueDeleteOptions::default())
            .await;
        let _ = consuming.close(200, "done".into()).await;
    };
    let _ = tokio::time::timeout(CLOSING_MAX, closing).await;
    counted
}

/// Publishes for ever, confirms under way.
async fn publish(
    channel: Channel,
    queue: ShortString,
    frames: Vec<SampleFrame>,
    window: Arc<Semaphore>,
) -> anyhow::Result<std::convert::Infallible> {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let mut confirms = VecDeque::new();
    for (number, frame) in frames.iter().enumerate().cycle() {
        window.acquire_many(frame.events).await?.forget();
        // Its place in the sample, from which the consumer knows its size.
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(number.to_string().into());
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirm = channel
            .basic_publish(
                "".into(),
                queue.clone(),
                options,
                &frame.payload,
                properties,
            )
            .await?;
        confirms.push_back(confirm);
        if confirms.len() >= CONFIRMS_MAX
            && let Some(oldest) = confirms.pop_front()
            && !matches!(oldest.await?, Confirmation::Ack(None))
        {
            bail!("the broker did not take a message of the bare chain");
        }
    }
    bail!("there is no frame to publish")
}

/// What a write gives back: events written, and the last delivery that they came with.
type Written = BoxFuture<'static, anyhow::Result<(u32, u64)>>;

async fn consume(
    channel: &Channel,
    queue: ShortString,
    sizes: Vec<u32>,
    mut lines: Option<&mut Lines>,
    writer: Option<Arc<Writer>>,
    window: &Semaphore,
    mut count: Count,
) -> anyhow::Result<(f64, u64)> {
    channel
        .basic_qos(PREFETCH_FRAMES, BasicQosOptions::default())
        .await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel
        .basic_consume(queue, "bare".into(), options, FieldTable::default())
        .await?;
    let mut writing: FuturesOrdered<Written> = FuturesOrdered::new();
    let (mut events, mut tag, mut oldest) = (0_u32, 0, tokio::time::Instant::now());
    loop {
        let free = writing.len() < WRITES_IN_FLIGHT;
        let full = u64::from(events) >= BATCH_LINES;
        if free && (full || (events > 0 && oldest.elapsed() >= BATCH_AGE)) {
            let batch = (events, tag);
            events = 0;
            writing.push_back(match (&mut lines, &writer) {
                (Some(lines), Some(writer)) => {
                    let write = writer.write(lines, u64::from(batch.0));
                    async move { write.await.map(|()| batch) }.boxed()
                }
                _ => std::future::ready(Ok(batch)).boxed(),
            });
            continue;
        }
        tokio::select! {
            delivery = consumer.next(), if !full => {
                let delivery = delivery.context("the consumer of the bare chain has ended")??;
                if events == 0 {
                    oldest = tokio::time::Instant::now();
                }
                let number = delivery.properties.message_id().as_ref();
                let number = number.and_then(|id| id.as_str().parse::<usize>().ok());
                let size = number.and_then(|number| sizes.get(number));
                events += size.context("a message that is not of the bare chain")?;
                tag = delivery.delivery_tag;
            }
            () = tokio::time::sleep_until(oldest + BATCH_AGE), if free && events > 0 => {}
            Some(written) = writing.next(), if !writing.is_empty() => {
                let (events, tag) = written?;
                channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
                window.add_permits(events as usize);
                if !count.add(u64::from(events)) {
                    return Ok(count.counted());
                }
            }
        }
    }
}

/// The database's write address, and nothing else.
struct Writer {
    client: reqwest::Client,
    target: WriteTarget,
}

impl Writer {
    fn new(target: WriteTarget) -> Self {
        Self {
            client: reqwest::Client::new(),
            target,
        }
    }

    /// Takes the next so many lines now, and writes them.
    fn write(
        self: &Arc<Self>,
        lines: &mut Lines,
        count: u64,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        let mut body = Vec::new();
        lines.append(count, &mut body);
        let writer = Arc::clone(self);
        let task = tokio::spawn(async move { writer.post(body).await });
        async move { task.await? }.boxed()
    }

    async fn post(&self, body: Vec<u8>) -> anyhow::Result<()> {
        let compressing = tokio::task::spawn_blocking(move || {
            let room = Vec::with_capacity(body.len() / 4);
            let mut encoder = GzEncoder::new(room, Compression::new(1));
            encoder.write_all(&body)?;
            encoder.finish()
        });
        let request = self.client.post(self.target.url.clone());
        let request = match &self.target.authorization {
            Some(value) => request.header(reqwest::header::AUTHORIZATION, value),
            None => request,
        };
        let request = request.header(reqwest::header::CONTENT_ENCODING, "gzip");
        let response = request.body(compressing.await??).send().await?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            bail!("the database answers the bare writer with {status}: {text}");
        }
        Ok(())
    }
}
