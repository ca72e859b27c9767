//! The bare chain: a publisher, a consumer and a line writer with the bytes that the product moves,
//! and no product in between. What it moves is what broker and database take on this machine.
//!
//! It publishes persistent messages with confirms to a quorum queue, consumes with acknowledgements
//! after the write, and writes as the product does: 5,000 lines or those of 10 ms a request (of 40
//! with more than 100 or while another is under way), four requests under way, gzip at level 1.
//! Batches are those that the product was heard to send, lines those that it was seen to write. At a
//! rate, a home fires beside it ([`Home`]), as it does to the product.

mod batches;
mod consume;
mod home;
mod lines;
mod publish;
mod schedule;
mod target;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all, try_join_all};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection};
use loadtest_report::{BareParts, CpuPerMillion, rounded};
use tokio::sync::Semaphore;

use crate::database::Database;
use crate::harness::Harness;
use crate::progress::Progress;
use batches::{SampleBatch, sample};
use consume::{Arrivals, Consumption, delivered, made};
pub use home::Home;
use lines::Lines;
use publish::Publisher;
use schedule::Schedule;
use target::bare_target;
use writer::Writer;

/// Events that were published and are not written, where it goes as fast as it can.
const WINDOW_EVENTS: usize = 40_000;
/// Not counted, where it goes as fast as it can.
const WARM_UP: Duration = Duration::from_secs(1);
/// After the time of a rate: what is not written then never counts as written.
const LATE_MAX: Duration = Duration::from_secs(10);
/// Before the first batch is due: publisher and consumer are there then.
const SUBSCRIBED_IN: Duration = Duration::from_millis(200);
const CLOSING_MAX: Duration = Duration::from_secs(10);
/// Lines that are kept of a sample.
const LINES_MAX: f64 = 40_000.0;
/// Batches without a broker: events that come together within this time.
const BATCH_S: f64 = 0.016;
const BATCH_EVENTS_MAX: f64 = 250.0;

/// Everything that it needs, made beforehand.
pub(super) struct BareChain<'a> {
    harness: &'a Harness,
    /// Without a broker there are none.
    batches: Option<Arc<Vec<SampleBatch>>>,
    /// Without a database there is nothing to write.
    writing: Option<(Lines, Arc<Writer>)>,
}

/// What went through in a time.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    pub(super) seconds: f64,
    /// Events that were published in the time; without a broker, that were due.
    pub(super) sent: u64,
    /// Events that were written in the time.
    pub(super) written: u64,
    /// Microseconds from when an event was due until its write was answered.
    pub(super) latencies: Histogram<u64>,
}

impl Passed {
    pub(super) fn events_per_s(&self) -> f64 {
        rounded(self.written as f64 / self.seconds.max(1e-3))
    }
}

/// The two ends of a queue of its own; the one has as many connections as there are homes.
struct Way {
    publishing: Vec<Connection>,
    consuming: Connection,
    to: Vec<Channel>,
    from: Channel,
    queue: ShortString,
}

impl<'a> BareChain<'a> {
    /// Fires at the rate for a moment through the product; batches are heard, lines read back.
    pub(super) async fn like_the_product(
        harness: &'a Harness,
        rate: f64,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let begun_ns = i64::try_from(Timestamp::now().as_nanosecond())?;
        let batches = sample(harness, rate, progress).await?.map(Arc::new);
        let writing = match (bare_target(harness).await?, harness.database()) {
            (
                Some(target),
                Database::InfluxDb {
                    client, instances, ..
                },
            ) => {
                let lasts_s = batches::listen(rate).as_secs_f64().min(LINES_MAX / rate);
                // The first events are fired a moment later.
                let to_ns = begun_ns + ((lasts_s + 1.0) * 1e9) as i64;
                let condition = lines::condition(instances.as_ref(), begun_ns, to_ns);
                let instance = instances.is_some().then_some(target.instance.as_str());
                let lines = Lines::of_points(client, &condition, instance).await?;
                Some((lines, Arc::new(Writer::new(target))))
            }
            _ => None,
        };
        if batches.is_none() && writing.is_none() {
            bail!("neither a broker nor a database: there is no bare chain");
        }
        Ok(Self {
            harness,
            batches,
            writing,
        })
    }

    /// What it is made of.
    pub(super) fn parts(&self) -> BareParts {
        let mut parts = Vec::new();
        if self.batches.is_some() {
            parts.extend(["publish", "consume"].map(str::to_owned));
        }
        if self.writing.is_some() {
            parts.push("write".to_owned());
        }
        let mean = |of: fn(&SampleBatch) -> usize| {
            let batches = self.batches.as_ref()?;
            let sum: usize = batches.iter().map(of).sum();
            Some(rounded(sum as f64 / batches.len() as f64))
        };
        let lines = self.writing.as_ref().map(|(lines, _)| lines);
        BareParts {
            parts,
            batch_bytes: mean(|batch| batch.payload.len()),
            batch_events: mean(|batch| batch.events as usize),
            line_bytes: lines.map(Lines::mean_bytes),
            line_series: lines.map(Lines::series),
        }
    }

    /// Open loop: every event at its time, whatever broker and database do.
    ///
    /// # Errors
    /// When broker or database refuse something.
    pub(super) async fn at_rate(&mut self, rate: f64, lasts: Duration) -> anyhow::Result<Passed> {
        let mut schedule = self.schedule(Some(rate));
        let way = self.open().await?;
        schedule.begin_in(SUBSCRIBED_IN);
        let end = schedule.begun() + lasts;
        let (sent, mut written, mut latencies) = (AtomicU64::new(0), 0, Histogram::new(3)?);
        let (sending, arrivals): (BoxFuture<'_, anyhow::Result<()>>, Arrivals) = match &way {
            Some(way) => {
                let publishers = self.publishers(way).await?;
                let arrivals = delivered(&way.from, way.queue.clone(), schedule.clone()).await?;
                let sending = Publisher::on_time(publishers, &schedule, lasts, &sent);
                (sending.boxed(), arrivals)
            }
            None => {
                sent.store((rate * lasts.as_secs_f64()) as u64, Ordering::Relaxed);
                let arrivals = made(schedule.clone(), Some(lasts));
                (std::future::ready(Ok(())).boxed(), arrivals)
            }
        };
        let channel = way.as_ref().map(|way| way.from.clone());
        let mut consumption = Consumption::new(arrivals, channel, self.writing());
        let writing = async {
            while let Some(batch) = consumption.next().await? {
                batch.record(&mut latencies)?;
                if batch.answered <= end {
                    written += batch.events;
                }
            }
            anyhow::Ok(())
        };
        let all = async { tokio::try_join!(sending, writing) };
        // One that is later than this has not held.
        if let Ok(done) = tokio::time::timeout_at((end + LATE_MAX).into(), all).await {
            done?;
        }
        drop(consumption);
        close(way).await;
        Ok(Passed {
            seconds: lasts.as_secs_f64(),
            sent: sent.into_inner(),
            written,
            latencies,
        })
    }

    /// Closed loop: as fast as a window of unwritten events lets it, without a bound on latency.
    ///
    /// # Errors
    /// When broker or database refuse something.
    pub(super) async fn flat_out(&mut self, lasts: Duration) -> anyhow::Result<Passed> {
        let schedule = self.schedule(None);
        let way = self.open().await?;
        let window = Semaphore::new(WINDOW_EVENTS);
        let (sending, arrivals) = match &way {
            Some(way) => {
                let publisher = self.publisher(way).await?;
                let arrivals = delivered(&way.from, way.queue.clone(), schedule.clone()).await?;
                (publisher.within(&schedule, &window).boxed(), arrivals)
            }
            None => (std::future::pending().boxed(), made(schedule.clone(), None)),
        };
        let channel = way.as_ref().map(|way| way.from.clone());
        let mut consumption = Consumption::new(arrivals, channel, self.writing());
        let mut count = Count::new(lasts);
        let writing = async {
            while let Some(batch) = consumption.next().await? {
                window.add_permits(usize::try_from(batch.events)?);
                if !count.add(batch.events) {
                    break;
                }
            }
            anyhow::Ok(())
        };
        tokio::select! {
            failed = sending => match failed? {},
            written = writing => written?,
        }
        close(way).await;
        count.passed()
    }

    /// So many events are queued, then consumed and written: seconds and events from the moment of
    /// the subscription on, and processor seconds in a million of them by role.
    ///
    /// # Errors
    /// When broker or database refuse something, or there is no broker.
    pub(super) async fn drain(&mut self, events: u64) -> anyhow::Result<(Passed, CpuPerMillion)> {
        let schedule = self.schedule(None);
        let way = self.open().await?.context("no broker")?;
        let sent = self.publisher(&way).await?.all(&schedule, events).await?;
        self.harness.at_rest().await;
        let cpu_before = self.harness.cpu_s();
        let begun = Instant::now();
        let arrivals = delivered(&way.from, way.queue.clone(), schedule).await?;
        let channel = Some(way.from.clone());
        let mut consumption = Consumption::new(arrivals, channel, self.writing());
        let (mut written, mut last) = (0, begun);
        while let Some(batch) = consumption.next().await? {
            (written, last) = (written + batch.events, batch.answered);
        }
        drop(consumption);
        let cpu_s_per_million = self.harness.cpu_s_per_million(&cpu_before, written);
        close(Some(way)).await;
        let passed = Passed {
            seconds: last.duration_since(begun).as_secs_f64(),
            sent,
            written,
            latencies: Histogram::new(3)?,
        };
        Ok((passed, cpu_s_per_million))
    }

    fn writing(&mut self) -> Option<(&mut Lines, Arc<Writer>)> {
        let writing = self.writing.as_mut();
        writing.map(|(lines, writer)| (lines, Arc::clone(writer)))
    }

    fn schedule(&self, rate: Option<f64>) -> Schedule {
        let sizes = match &self.batches {
            Some(batches) => batches.iter().map(|batch| batch.events).collect(),
            None => {
                let events = rate.map_or(BATCH_EVENTS_MAX, |rate| rate * BATCH_S);
                vec![events.clamp(1.0, BATCH_EVENTS_MAX) as u32]
            }
        };
        Schedule::new(sizes, rate)
    }

    /// One of them, to go as fast as it goes.
    async fn publisher(&self, way: &Way) -> anyhow::Result<Publisher> {
        let channel = way.to.first().context("no channel")?;
        self.publisher_on(channel, way).await
    }

    async fn publishers(&self, way: &Way) -> anyhow::Result<Vec<Publisher>> {
        try_join_all(way.to.iter().map(|to| self.publisher_on(to, way))).await
    }

    async fn publisher_on(&self, to: &Channel, way: &Way) -> anyhow::Result<Publisher> {
        let batches = self.batches.clone().context("no batches")?;
        Publisher::new(to.clone(), way.queue.clone(), batches).await
    }

    /// A fresh queue, with separate connections, as the product has.
    async fn open(&self) -> anyhow::Result<Option<Way>> {
        if self.batches.is_none() {
            return Ok(None);
        }
        let broker = self.harness.queues().context("no broker")?.broker();
        let consuming = broker.connect().await?;
        let (mut publishing, mut to) = (Vec::new(), Vec::new());
        for _ in 0..self.harness.plan().homes {
            let connection = broker.connect().await?;
            to.push(connection.create_channel().await?);
            publishing.push(connection);
        }
        let queue = ShortString::try_new(ha_services::Services::unique_name("bare"))
            .map_err(|_| anyhow::anyhow!("the queue's name is too long"))?;
        let from = consuming.create_channel().await?;
        let mut arguments = FieldTable::default();
        let quorum = AMQPValue::LongString("quorum".into());
        arguments.insert("x-queue-type".into(), quorum);
        let declare = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        from.queue_declare(queue.clone(), declare, arguments)
            .await?;
        Ok(Some(Way {
            publishing,
            consuming,
            to,
            from,
            queue,
        }))
    }
}

/// RabbitMQ may hold a publisher that has been told to wait for a queue which is gone then, and
/// reads not even its close. What is left is closed with the process.
async fn close(way: Option<Way>) {
    let Some(way) = way else { return };
    let closing = async {
        let publishing = way.publishing.iter();
        join_all(publishing.map(|connection| connection.close(200, "done".into()))).await;
        let delete = QueueDeleteOptions::default();
        let _ = way.from.queue_delete(way.queue, delete).await;
        let _ = way.consuming.close(200, "done".into()).await;
    };
    let _ = tokio::time::timeout(CLOSING_MAX, closing).await;
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

    /// What counts.
    fn passed(&self) -> anyhow::Result<Passed> {
        let (since, before) = self.warm.unwrap_or((self.begun, 0));
        let events = self.events - before;
        Ok(Passed {
            seconds: since.elapsed().as_secs_f64(),
            sent: events,
            written: events,
            latencies: Histogram::new(3)?,
        })
    }
}
