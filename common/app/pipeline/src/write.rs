//! Writing one batch: again and again until every point is stored or is a dead letter.

use crate::dead_letter::{DeadLetterStore, now_ns};
use crate::latency::LatencyRecorder;
use crate::metrics::Metrics;
use crate::work::AckHandle;
use crate::write_batch::WriteBatch;
use ha_resilience::Backoff;
use ha_sink::{Sink, WriteOutcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A database that is away is asked again after this long at most: what it costs (a request), and
/// what it saves (that much of every recovery).
pub const SINK_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Whether the database takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkState {
    /// The last write was answered as it should be.
    Available,
    /// Nothing is stored at the moment; writes are repeated.
    Unavailable(String),
    /// The database understood and said no: the settings must change.
    Refused(String),
}

/// What writing needs; one for all batches.
#[derive(Debug)]
pub(crate) struct Writer<D> {
    pub sink: Arc<Sink>,
    pub dead_letters: Arc<D>,
    pub state: watch::Sender<SinkState>,
    pub metrics: Metrics,
    pub latency: Arc<LatencyRecorder>,
}

impl<D: DeadLetterStore> Writer<D> {
    /// Returns the ack handles of the batch's batches when all their events are settled.
    pub async fn settle<T: AckHandle>(&self, mut write_batch: WriteBatch<T>) -> Vec<T> {
        if !write_batch.points.is_empty() {
            let batches = write_batch
                .batches
                .iter()
                .filter_map(|batch| batch.ack_handle.trace());
            let span = ha_trace::write(batches, write_batch.points.len());
            let context = span.context();
            ha_trace::within(&context, self.write(&mut write_batch, span)).await;
        }
        let dead_letters = std::mem::take(&mut write_batch.dead_letters);
        if !dead_letters.is_empty() {
            let reasons: Vec<_> = dead_letters
                .iter()
                .map(|dead_letter| dead_letter.reason)
                .collect();
            self.dead_letters.deliver(dead_letters).await;
            for reason in reasons {
                self.metrics.dead_letter(reason);
            }
        }
        write_batch
            .batches
            .into_iter()
            .map(|batch| batch.ack_handle)
            .collect()
    }

    async fn write<T: AckHandle>(&self, write_batch: &mut WriteBatch<T>, mut span: ha_trace::Span) {
        let mut backoff = Backoff::new(Duration::from_millis(500), SINK_PAUSE_MAX);
        // Settings do not change within a second.
        let mut slow = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
        loop {
            let began = Instant::now();
            let outcome = self.sink.write(&write_batch.points).await;
            self.metrics.write_duration.record(began.elapsed());
            let pause = match outcome {
                WriteOutcome::Written => {
                    self.written(write_batch, &[]);
                    return;
                }
                WriteOutcome::Rejected(rejected) => {
                    let mut refused = Vec::with_capacity(rejected.len());
                    for point in rejected {
                        let dead_letter = write_batch.dead_letter_for(point.index, &point.error);
                        write_batch.dead_letters.extend(dead_letter);
                        refused.push(point.index);
                    }
                    self.written(write_batch, &refused);
                    return;
                }
                WriteOutcome::Unavailable {
                    reason,
                    retry_after,
                } => {
                    span.retry(&reason);
                    self.metrics.retries_unavailable.increment(1);
                    self.set_state(SinkState::Unavailable(reason));
                    retry_after.unwrap_or_default().max(backoff.next_random())
                }
                WriteOutcome::Refused { reason } => {
                    span.retry(&reason);
                    self.metrics.retries_refused.increment(1);
                    self.set_state(SinkState::Refused(reason));
                    slow.next_random()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn written<T>(&self, write_batch: &WriteBatch<T>, refused: &[usize]) {
        self.set_state(SinkState::Available);
        self.metrics
            .points_written((write_batch.points.len() - refused.len()) as u64);
        self.metrics.not_taken(&self.sink.take_left_out());
        let now = now_ns();
        let latencies_us = write_batch
            .sources
            .iter()
            .enumerate()
            .filter(|(index, _)| refused.is_empty() || !refused.contains(index))
            .filter_map(|(_, source)| source.live_time_ns)
            .map(|time_ns| u64::try_from((now - time_ns) / 1_000).unwrap_or(0));
        self.latency.record_us(latencies_us.inspect(|latency_us| {
            self.metrics.event_latency.record(*latency_us as f64 / 1e6);
        }));
    }

    pub fn set_state(&self, state: SinkState) {
        let changed = self.state.send_if_modified(|current| {
            let changed = *current != state;
            *current = state.clone();
            changed
        });
        if !changed {
            return;
        }
        self.metrics
            .sink_available
            .set(f64::from(u8::from(state == SinkState::Available)));
        match state {
            SinkState::Available => tracing::info!("the database takes writes"),
            SinkState::Unavailable(reason) => {
                tracing::warn!(
                    reason,
                    "the database is away; holding events and trying again"
                );
            }
            SinkState::Refused(reason) => {
                tracing::error!(
                    reason,
                    "the database refuses writes; holding events until that changes"
                );
            }
        }
    }
}
