//! Frames become points of the open batch here.

use crate::letter::{Letter, Reason};
use crate::metrics::Metrics;
use bytes::Bytes;
use ha_enrich::Options;
use ha_frame::{DecodeError, Frame, Origin};
use ha_point::{Format, PointBuffer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::time::Instant;

/// Points that are written together, and the frames that they came from.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub points: PointBuffer,
    /// Where each point came from, in the order of the points.
    pub sources: Vec<Source>,
    pub frames: Vec<HeldFrame<T>>,
    /// Letters of events that never became a point.
    pub letters: Vec<Letter>,
    /// When the first frame was added.
    pub opened_at: Option<Instant>,
}

/// Where a point came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub frame: u32,
    pub envelope: u32,
    /// The point's time; `None` for events whose latency says nothing (imports, backfill).
    pub live_time_ns: Option<i64>,
}

/// A frame whose events are not settled; its bytes are kept for the letters of refused points.
#[derive(Debug)]
pub(crate) struct HeldFrame<T> {
    pub ticket: T,
    pub payload: Bytes,
}

impl<T> Batch<T> {
    pub fn new(format: Format) -> Self {
        Self {
            points: PointBuffer::new(format),
            sources: Vec::new(),
            frames: Vec::new(),
            letters: Vec::new(),
            opened_at: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Decodes and enriches one frame into the batch. A frame of a newer version is given back
    /// untouched, with its version; everything else ends here as points and letters.
    pub fn add(
        &mut self,
        payload: Bytes,
        ticket: T,
        now: Instant,
        options: &Options,
        metrics: &Metrics,
    ) -> Result<(), (T, u16)> {
        match ha_frame::decode(&payload) {
            Ok(frame) => self.add_events(&frame, options, metrics),
            Err(DecodeError::NewerVersion { found }) => return Err((ticket, found)),
            Err(error) => self.letters.push(Letter::undecodable(payload.clone(), &error)),
        }
        self.frames.push(HeldFrame { ticket, payload });
        self.opened_at.get_or_insert(now);
        Ok(())
    }

    fn add_events(&mut self, frame: &Frame<'_>, options: &Options, metrics: &Metrics) {
        let (mut enriched, mut invalid, mut panicked, mut without_fields) = (0, 0, 0, 0);
        for (index, envelope) in frame.envelopes.iter().enumerate() {
            let before = self.points.len();
            let points = &mut self.points;
            // A panic is a defect of ours; it costs its own event and no other.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                ha_enrich::enrich(envelope, frame.home.as_ref(), options).map(|point| {
                    let time_ns = point.time_ns;
                    points.push(point).then_some(time_ns)
                })
            }));
            match outcome {
                Ok(Ok(Some(time_ns))) => {
                    enriched += 1;
                    self.sources.push(Source {
                        frame: self.frames.len() as u32,
                        envelope: index as u32,
                        live_time_ns: (envelope.origin == Origin::Live).then_some(time_ns),
                    });
                }
                Ok(Ok(None)) => without_fields += 1,
                Ok(Err(error)) => {
                    invalid += 1;
                    let reason = Reason::InvalidEvent;
                    self.letters.push(Letter::of_event(reason, "enrich", &error, envelope));
                }
                Err(panic) => {
                    panicked += 1;
                    self.points.truncate(before);
                    let what = panic_text(panic.as_ref());
                    self.letters.push(Letter::of_event(Reason::Poison, "enrich", &what, envelope));
                }
            }
        }
        metrics.enriched.increment(enriched);
        metrics.invalid.increment(invalid);
        metrics.panicked.increment(panicked);
        metrics.without_fields.increment(without_fields);
    }

    /// The letter for a point that the database refused.
    pub fn letter_for(&self, point: usize, error: &str) -> Option<Letter> {
        let source = self.sources.get(point)?;
        let frame = ha_frame::decode(&self.frames.get(source.frame as usize)?.payload).ok()?;
        let envelope = frame.envelopes.get(source.envelope as usize)?;
        Some(Letter::of_event(Reason::SinkRejected, "sink", &error, envelope))
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("enrichment panicked: {}", text.unwrap_or_else(|| "no message".into()))
}
