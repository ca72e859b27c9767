//! Direct writes: while the broker is away, the points of spooled batches go straight to the
//! database, so that dashboards stay alive. Best effort: one write at a time, no retry, after the
//! spool's fsync; the spool drains through the broker anyway, and the same event written
//! twice is one point. Only fields that enrichment never changes are written.

use crate::deliver::encoded::EncodedBatch;
use crate::observe::metrics::Metrics;
use ha_enrich::Options;
use ha_point::PointBuffer;
use ha_sink::Sink;
use ha_sink::WriteOutcome;
use ha_spool::Spool;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Batches that wait for the write under way; more are skipped.
const BATCHES_WAITING_MAX: usize = 64;

/// Points in one write at most.
const POINTS_MAX: usize = 5_000;

/// How long batches are skipped after a write that failed.
const PAUSE: Duration = Duration::from_secs(2);

/// Hands spooled batches to the writing task.
#[derive(Debug, Clone)]
pub struct DirectWrites {
    batches: mpsc::Sender<(i64, EncodedBatch)>,
}

impl DirectWrites {
    /// Starts the task; it ends with the last handle.
    #[must_use]
    pub fn start(sink: Arc<Sink>, enrichment: Options, spool: Spool, metrics: Metrics) -> Self {
        let (batches, waiting) = mpsc::channel(BATCHES_WAITING_MAX);
        tokio::spawn(run(sink, enrichment, spool, metrics, waiting));
        Self { batches }
    }

    /// Offers a batch that is in the spool under this id. Never waits.
    pub fn offer(&self, id: i64, batch: &EncodedBatch) {
        // A full channel or an ended task: the batch is in the spool, nothing is lost.
        let _ = self.batches.try_send((id, batch.clone()));
    }
}

async fn run(
    sink: Arc<Sink>,
    enrichment: Options,
    spool: Spool,
    metrics: Metrics,
    mut waiting: mpsc::Receiver<(i64, EncodedBatch)>,
) {
    while let Some(first) = waiting.recv().await {
        let mut points = PointBuffer::new(sink.format());
        let (mut ids, mut events) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some((id, batch)) = next {
            map(&batch, &enrichment, &mut points);
            ids.push(id);
            events += u64::from(batch.events);
            next = if points.len() < POINTS_MAX {
                waiting.try_recv().ok()
            } else {
                None
            };
        }
        if points.is_empty() {
            continue;
        }
        match sink.write(&points).await {
            WriteOutcome::Written => {
                metrics.direct_written(events);
                if let Err(error) = spool.set_written_direct(ids).await {
                    tracing::debug!(%error, "direct writes could not be noted in the spool");
                }
            }
            // Refused points get their dead letter when the batch takes its ordinary way.
            WriteOutcome::Rejected(_) => {}
            WriteOutcome::Unavailable { reason, .. } | WriteOutcome::Refused { reason } => {
                tracing::debug!(reason, "no direct writes for a moment");
                tokio::time::sleep(PAUSE).await;
                while waiting.try_recv().is_ok() {}
            }
        }
    }
}

/// Plain points of the batch's events; what is no event is left to the ordinary way.
fn map(batch: &EncodedBatch, enrichment: &Options, points: &mut PointBuffer) {
    let Ok(batch) = ha_batch::decode(&batch.payload) else {
        return;
    };
    for envelope in &batch.envelopes {
        if let Ok(mut point) = ha_enrich::enrich(envelope, None, enrichment) {
            ha_enrich::registry::tag(&mut point, &batch.entities, &enrichment.extra_tags);
            points.push(point);
        }
    }
}
