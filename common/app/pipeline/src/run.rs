//! The loop: takes batches while there is room, closes batches, keeps writes in flight.

use crate::dead_letter::DeadLetterStore;
use crate::latency::LatencyRecorder;
use crate::latest::LatestEvents;
use crate::metrics::{Metrics, Totals};
use crate::quality::QualityRecorder;
use crate::weather::WeatherStage;
use crate::work::{AckHandle, Outcome, Work};
use crate::write::{SinkState, Writer};
use crate::write_batch::{Stages, WriteBatch};
use ha_enrich::Options;
use ha_resilience::{Batching, Filling, Leave};
use ha_sink::Sink;
use ha_weather::Weather;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Larger bodies are refused by InfluxDB 1.x's default (25 MB); wide events reach this before the
/// number of points does.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// A write costs the database as much as some hundred points do. A batch of more points than that,
/// or one beside a write that is under way, is part of a load where fewer and larger writes are what
/// helps: unless it is full, it fills for this many times the usual age.
const MANY_POINTS: usize = 100;
const AGES_UNDER_LOAD: u32 = 4;

/// Limits of the pipeline.
#[derive(Debug, Clone)]
pub struct PipelineOptions {
    /// A write batch with this many points is written at once.
    pub batch_points_max: usize,
    /// Between the beginnings of two writes at least, unless one is full: meanwhile points gather.
    /// Four times as long under load: while another is under way, or with more than 100 points.
    pub batch_age_max: Duration,
    /// Writes at one time.
    pub writes_in_flight_max: usize,
}

/// The pipeline, not yet running.
#[derive(Debug)]
pub struct Pipeline<D> {
    writer: Arc<Writer<D>>,
    enrichment: Arc<Options>,
    options: PipelineOptions,
    quality: Arc<QualityRecorder>,
    weather: WeatherStage,
}

impl<D: DeadLetterStore> Pipeline<D> {
    /// Puts the parts together; nothing runs yet.
    #[must_use]
    pub fn new(
        sink: Arc<Sink>,
        dead_letters: Arc<D>,
        enrichment: Arc<Options>,
        options: PipelineOptions,
        latency: Arc<LatencyRecorder>,
    ) -> Self {
        let state = watch::Sender::new(SinkState::Available);
        let metrics = Metrics::new();
        let writer = Arc::new(Writer {
            sink,
            dead_letters,
            state,
            metrics,
            latency,
        });
        Self {
            writer,
            enrichment,
            options,
            quality: Arc::default(),
            weather: WeatherStage::default(),
        }
    }

    /// Takes the weather from this provider instead of from the batches' own facts.
    #[must_use]
    pub fn with_weather(mut self, weather: Option<Weather>) -> Self {
        self.weather.provider = weather;
        self
    }

    /// What the rules say of the events, to look at.
    #[must_use]
    pub fn quality(&self) -> Arc<QualityRecorder> {
        Arc::clone(&self.quality)
    }

    /// Whether the database takes writes, to watch.
    #[must_use]
    pub fn sink_state(&self) -> watch::Receiver<SinkState> {
        self.writer.state.subscribe()
    }

    /// Counts since the start.
    #[must_use]
    pub fn totals(&self) -> Arc<Totals> {
        Arc::clone(&self.writer.metrics.totals)
    }

    /// The latest events that came in.
    #[must_use]
    pub fn latest_events(&self) -> LatestEvents {
        self.writer.metrics.latest.clone()
    }

    /// A probe found the database answering again, while nothing was being written.
    pub fn sink_is_back(&self) {
        self.writer.set_state(SinkState::Available);
    }

    /// Runs until `input` is closed and everything taken from it is settled. Outcomes come in the
    /// order in which writes end, not in the order of the batches.
    ///
    /// The sender must also receive: outcomes that are not taken stop the pipeline.
    pub async fn run<T: AckHandle>(
        &self,
        mut input: mpsc::Receiver<Work<T>>,
        output: mpsc::Sender<Outcome<T>>,
    ) {
        let mut open = WriteBatch::new(self.writer.sink.format());
        let mut writes: JoinSet<Vec<T>> = JoinSet::new();
        let mut closed = false;
        let mut last_left: Option<Instant> = None;
        let batching = Batching {
            interval: self.options.batch_age_max,
            interval_loaded: self.options.batch_age_max * AGES_UNDER_LOAD,
        };
        loop {
            let slot_free = writes.len() < self.options.writes_in_flight_max;
            let now = Instant::now();
            let filling = Filling {
                is_empty: open.is_empty(),
                is_full: self.is_full(&open),
                is_last: closed,
                is_loaded: !writes.is_empty() || open.points.len() > MANY_POINTS,
                previous_left: last_left.map(Instant::into_std),
            };
            let leave = batching.decide(&filling, now.into_std());
            let is_drained = closed || filling.is_full || input.is_empty();
            if slot_free && leave == Leave::Now && is_drained {
                last_left = Some(now);
                let write_batch = open.close();
                let writer = Arc::clone(&self.writer);
                writes.spawn(async move { writer.settle(write_batch).await });
                continue;
            }
            if closed && open.is_empty() && writes.is_empty() {
                return;
            }
            tokio::select! {
                work = input.recv(), if !closed && !filling.is_full => match work {
                    Some(work) => self.take(&mut open, work, &output).await,
                    None => closed = true,
                },
                () = wait(leave), if slot_free => {}
                Some(ack_handles) = writes.join_next(), if !writes.is_empty() => {
                    // A write task does not panic; if one did, its batches stay unsettled and are
                    // delivered again.
                    for ack_handle in ack_handles.unwrap_or_default() {
                        if output.send(Outcome::Settled(ack_handle)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    fn is_full<T>(&self, open: &WriteBatch<T>) -> bool {
        open.points.len() >= self.options.batch_points_max
            || open.points.bytes_len() >= BATCH_BYTES_MAX
            || open.batches.len() >= self.options.batch_points_max
    }

    async fn take<T: AckHandle>(
        &self,
        open: &mut WriteBatch<T>,
        work: Work<T>,
        output: &mpsc::Sender<Outcome<T>>,
    ) {
        let began = Instant::now();
        let metrics = &self.writer.metrics;
        let stages = Stages {
            options: &self.enrichment,
            metrics,
            quality: &self.quality,
            weather: &self.weather,
        };
        if let Err((ack_handle, found)) = open.add(work, &stages) {
            let _ = output.send(Outcome::NewerVersion(ack_handle, found)).await;
            return;
        }
        metrics.batch_duration.record(began.elapsed());
    }
}

async fn wait(leave: Leave) {
    match leave {
        Leave::At(due) => tokio::time::sleep_until(due.into()).await,
        Leave::Now | Leave::WhenFilled => std::future::pending().await,
    }
}
