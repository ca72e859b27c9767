//! Direct writes: while the broker is away, the points of spooled frames go straight to the
//! database, so that dashboards stay alive. Best effort: one write at a time, no retry, after the
//! spool's fsync; the spool drains through the broker all the same, and the same event written
//! twice is one point. Only fields that enrichment never changes are written.

use crate::deliver::encoded::EncodedFrame;
use crate::observe::metrics::Metrics;
use ha_enrich::Options;
use ha_point::PointBuffer;
use ha_sink::Sink;
use ha_sink::WriteOutcome;
use ha_spool::Spool;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Frames that wait for the write under way; more are passed over.
const FRAMES_WAITING_MAX: usize = 64;

/// Points in one write at most.
const POINTS_MAX: usize = 5_000;

/// After a write that failed, frames are passed over for so long.
const PAUSE: Duration = Duration::from_secs(2);

/// Hands spooled frames to the writing task.
#[derive(Debug, Clone)]
pub struct DirectWrites {
    frames: mpsc::Sender<(i64, EncodedFrame)>,
}

impl DirectWrites {
    /// Starts the task; it ends with the last handle.
    #[must_use]
    pub fn start(sink: Arc<Sink>, enrichment: Options, spool: Spool, metrics: Metrics) -> Self {
        let (frames, waiting) = mpsc::channel(FRAMES_WAITING_MAX);
        tokio::spawn(run(sink, enrichment, spool, metrics, waiting));
        Self { frames }
    }

    /// Offers a frame that is in the spool under this id. Never waits.
    pub fn offer(&self, id: i64, frame: &EncodedFrame) {
        // A full channel or an ended task: the frame is in the spool, nothing is lost.
        let _ = self.frames.try_send((id, frame.clone()));
    }
}

async fn run(
    sink: Arc<Sink>,
    enrichment: Options,
    spool: Spool,
    metrics: Metrics,
    mut waiting: mpsc::Receiver<(i64, EncodedFrame)>,
) {
    while let Some(first) = waiting.recv().await {
        let mut points = PointBuffer::new(sink.format());
        let (mut ids, mut events) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some((id, frame)) = next {
            map(&frame, &enrichment, &mut points);
            ids.push(id);
            events += u64::from(frame.events);
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
            // Refused points get their letter when the frame takes its ordinary way.
            WriteOutcome::Rejected(_) => {}
            WriteOutcome::Unavailable { reason, .. } | WriteOutcome::Refused { reason } => {
                tracing::debug!(reason, "no direct writes for a moment");
                tokio::time::sleep(PAUSE).await;
                while waiting.try_recv().is_ok() {}
            }
        }
    }
}

/// Plain points of the frame's events; what is no event is left to the ordinary way.
fn map(frame: &EncodedFrame, enrichment: &Options, points: &mut PointBuffer) {
    let Ok(frame) = ha_frame::decode(&frame.payload) else {
        return;
    };
    for envelope in &frame.envelopes {
        if let Ok(mut point) = ha_enrich::enrich(envelope, None, enrichment) {
            ha_enrich::registry::tag(&mut point, &frame.entities, &enrichment.extra_tags);
            points.push(point);
        }
    }
}
