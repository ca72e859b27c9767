//! Frames become points of the open batch here.

use crate::letter::{Letter, Reason, now_ns};
use crate::metrics::Metrics;
use crate::quality::{FrameQuality, QualityRecorder};
use crate::weather::WeatherStage;
use crate::work::{Ticket, Work};
use bytes::Bytes;
use ha_enrich::{Options, Schema};
use ha_frame::{DecodeError, Envelope, Frame, Origin, Replay};
use ha_point::{Format, PointBuffer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

/// Points that are written together, and the frames that they came from.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub points: PointBuffer,
    /// Where each point came from, in the order of the points.
    pub sources: Vec<Source>,
    pub frames: Vec<HeldFrame<T>>,
    /// Letters of events that never became a point.
    pub letters: Vec<Letter>,
}

/// What turns events into points, and counts what it finds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stages<'a> {
    pub options: &'a Options,
    pub metrics: &'a Metrics,
    pub quality: &'a QualityRecorder,
    pub weather: &'a WeatherStage,
}

/// Where a point came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub frame: u32,
    pub envelope: u32,
    /// The point's time; `None` where the latency says nothing of Home Assistant's events:
    /// imports, backfill, the producer's own records.
    pub live_time_ns: Option<i64>,
}

impl Source {
    /// In the place of an envelope: the point is none of an event, and becomes no letter.
    const OF_NO_EVENT: u32 = u32::MAX;
}

/// A frame whose events are not settled; its bytes are kept, as they came, for the letters of refused
/// points.
#[derive(Debug)]
pub(crate) struct HeldFrame<T> {
    pub ticket: T,
    pub payload: Bytes,
    pub replay: Option<Replay>,
}

impl<T: Ticket> Batch<T> {
    pub fn new(format: Format) -> Self {
        Self {
            points: PointBuffer::new(format),
            sources: Vec::new(),
            frames: Vec::new(),
            letters: Vec::new(),
        }
    }

    /// Gives away what it holds and goes on empty, with room for as much again.
    pub fn close(&mut self) -> Self {
        let next = Self {
            points: self.points.of_same_size(),
            sources: Vec::with_capacity(self.sources.len()),
            frames: Vec::with_capacity(self.frames.len()),
            letters: Vec::new(),
        };
        std::mem::replace(self, next)
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Decodes and enriches one frame into the batch. A frame of a newer version is given back
    /// untouched, with its version; everything else ends here as points and letters.
    pub fn add(&mut self, work: Work<T>, stages: &Stages<'_>) -> Result<(), (T, u16)> {
        let Work {
            payload,
            mut replay,
            mut ticket,
        } = work;
        let newer = ha_frame::with_unpacked(&payload, |bytes| match ha_frame::decode(bytes) {
            Ok(frame) => {
                replay = replay.or(frame.replay);
                self.add_events(&frame, replay, &mut ticket, stages);
                None
            }
            Err(DecodeError::NewerVersion { found }) => Some(found),
            Err(error) => {
                let bytes = Bytes::copy_from_slice(bytes);
                let letter = Letter::undecodable(bytes, &error).replayed(replay);
                ticket.became_letter(0, &letter);
                self.letters.push(letter);
                None
            }
        });
        if let Some(found) = newer {
            return Err((ticket, found));
        }
        self.frames.push(HeldFrame {
            ticket,
            payload,
            replay,
        });
        Ok(())
    }

    fn add_events(
        &mut self,
        frame: &Frame<'_>,
        replay: Option<Replay>,
        ticket: &mut T,
        stages: &Stages<'_>,
    ) {
        let Stages {
            options,
            metrics,
            quality,
            weather,
        } = stages;
        let looked = weather.look(frame, ticket.is_first_pass(), options);
        let mut sky = looked.sky();
        let mut found = FrameQuality::default();
        let (mut enriched, mut invalid, mut panicked) = (0, 0, 0);
        let (mut filtered, mut without_fields) = (0, 0);
        metrics
            .totals
            .received
            .fetch_add(frame.envelopes.len() as u64, Ordering::Relaxed);
        let seen_at_ns = now_ns();
        for (index, envelope) in frame.envelopes.iter().enumerate() {
            #[cfg(debug_assertions)]
            crate::poison::act(envelope);
            let before = self.points.len();
            let points = &mut self.points;
            // A panic is a defect of ours; it costs its own event and no other.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let observed = sky.for_event(envelope);
                ha_enrich::enrich_among(envelope, observed, options).map(|(mut point, report)| {
                    ha_enrich::registry::tag(&mut point, &frame.entities, &options.extra_tags);
                    let time_ns = point.time_ns;
                    points.push(point).then_some((time_ns, report))
                })
            }));
            match outcome {
                Ok(Ok(Some((time_ns, report)))) => {
                    enriched += 1;
                    found.add(&report);
                    sky.count(report.weather, envelope);
                    metrics.latest.offer(seen_at_ns, &envelope.json);
                    self.sources.push(Source {
                        frame: self.frames.len() as u32,
                        envelope: index as u32,
                        live_time_ns: is_live_event(envelope).then_some(time_ns),
                    });
                }
                // The schema of Home Assistant's integration leaves some states out.
                Ok(Ok(None)) if options.schema != Schema::Native => filtered += 1,
                Ok(Ok(None)) => without_fields += 1,
                Ok(Err(error)) => {
                    invalid += 1;
                    let reason = Reason::InvalidEvent;
                    let letter = Letter::of_event(reason, "enrich", &error, envelope);
                    let letter = letter.replayed(replay);
                    ticket.became_letter(index, &letter);
                    self.letters.push(letter);
                }
                Err(panic) => {
                    panicked += 1;
                    self.points.truncate(before);
                    let what = panic_text(panic.as_ref());
                    let letter = Letter::of_event(Reason::Poison, "enrich", &what, envelope);
                    let letter = letter.replayed(replay);
                    ticket.became_letter(index, &letter);
                    self.letters.push(letter);
                }
            }
        }
        if let Some(observation) = sky.new_observation(frame)
            && self.points.push(observation)
        {
            self.sources.push(Source {
                frame: self.frames.len() as u32,
                envelope: Source::OF_NO_EVENT,
                live_time_ns: None,
            });
        }
        metrics.weather(&sky.counts);
        quality.record(&found);
        metrics.quality(&found);
        metrics.enriched.increment(enriched);
        metrics.invalid.increment(invalid);
        metrics.panicked.increment(panicked);
        metrics.filtered.increment(filtered);
        metrics.without_fields.increment(without_fields);
    }

    /// The letter for a point that the database refused; its frame's ticket is told.
    pub fn letter_for(&mut self, point: usize, error: &str) -> Option<Letter> {
        let source = self.sources.get(point)?;
        let held = self.frames.get_mut(source.frame as usize)?;
        let letter = ha_frame::with_unpacked(&held.payload, |bytes| {
            let frame = ha_frame::decode(bytes).ok()?;
            let envelope = frame.envelopes.get(source.envelope as usize)?;
            let letter = Letter::of_event(Reason::SinkRejected, "sink", &error, envelope);
            Some(letter.replayed(held.replay))
        })?;
        held.ticket.became_letter(source.envelope as usize, &letter);
        Some(letter)
    }
}

/// Records go the way of live events, but have no number.
fn is_live_event(envelope: &Envelope<'_>) -> bool {
    envelope.origin == Origin::Live && envelope.sequence.is_some()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!(
        "enrichment panicked: {}",
        text.unwrap_or_else(|| "no message".into())
    )
}
