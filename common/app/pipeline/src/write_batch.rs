//! Batches become points of the open batch here.

use crate::dead_letter::{DeadLetter, Reason, now_ns};
use crate::metrics::Metrics;
use crate::quality::{BatchQuality, QualityRecorder};
use crate::weather::WeatherStage;
use crate::work::{AckHandle, Work};
use bytes::Bytes;
use ha_batch::{Batch, DecodeError, Envelope, Origin, Replay};
use ha_enrich::{Options, Schema};
use ha_point::{Format, PointBuffer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

/// Points that are written together, and the batches that they came from.
#[derive(Debug)]
pub(crate) struct WriteBatch<T> {
    pub points: PointBuffer,
    /// Where each point came from, in the order of the points.
    pub sources: Vec<Source>,
    pub batches: Vec<HeldBatch<T>>,
    /// Dead letters of events that never became a point.
    pub dead_letters: Vec<DeadLetter>,
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
    pub batch: u32,
    pub envelope: u32,
    /// The point's time; `None` where the latency says nothing of Home Assistant's events:
    /// imports, backfill, the producer's own records.
    pub live_time_ns: Option<i64>,
}

impl Source {
    /// In the place of an envelope: the point is none of an event, and becomes no dead letter.
    const OF_NO_EVENT: u32 = u32::MAX;
}

/// A batch whose events are not settled; its bytes are kept, as they came, for the dead letters of refused
/// points.
#[derive(Debug)]
pub(crate) struct HeldBatch<T> {
    pub ack_handle: T,
    pub payload: Bytes,
    pub replay: Option<Replay>,
}

impl<T: AckHandle> WriteBatch<T> {
    pub fn new(format: Format) -> Self {
        Self {
            points: PointBuffer::new(format),
            sources: Vec::new(),
            batches: Vec::new(),
            dead_letters: Vec::new(),
        }
    }

    /// Gives away what it holds and goes on empty, with room for as much again.
    pub fn close(&mut self) -> Self {
        let next = Self {
            points: self.points.of_same_size(),
            sources: Vec::with_capacity(self.sources.len()),
            batches: Vec::with_capacity(self.batches.len()),
            dead_letters: Vec::new(),
        };
        std::mem::replace(self, next)
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Decodes and enriches one batch into the batch. A batch of a newer version is given back
    /// untouched, with its version; everything else ends here as points and dead letters.
    pub fn add(&mut self, work: Work<T>, stages: &Stages<'_>) -> Result<(), (T, u16)> {
        let Work {
            payload,
            mut replay,
            mut ack_handle,
        } = work;
        let newer = ha_batch::with_decompressed(&payload, |bytes| match ha_batch::decode(bytes) {
            Ok(batch) => {
                replay = replay.or(batch.replay);
                self.add_events(&batch, replay, &mut ack_handle, stages);
                None
            }
            Err(DecodeError::NewerVersion { found }) => Some(found),
            Err(error) => {
                let bytes = Bytes::copy_from_slice(bytes);
                let dead_letter = DeadLetter::undecodable(bytes, &error).replayed(replay);
                ack_handle.became_dead_letter(0, &dead_letter);
                self.dead_letters.push(dead_letter);
                None
            }
        });
        if let Some(found) = newer {
            return Err((ack_handle, found));
        }
        self.batches.push(HeldBatch {
            ack_handle,
            payload,
            replay,
        });
        Ok(())
    }

    fn add_events(
        &mut self,
        batch: &Batch<'_>,
        replay: Option<Replay>,
        ack_handle: &mut T,
        stages: &Stages<'_>,
    ) {
        let Stages {
            options,
            metrics,
            quality,
            weather,
        } = stages;
        let looked = weather.look(batch, ack_handle.is_first_pass(), options);
        let mut sky = looked.sky();
        let mut found = BatchQuality::default();
        let (mut enriched, mut invalid, mut panicked) = (0, 0, 0);
        let (mut filtered, mut without_fields) = (0, 0);
        metrics
            .totals
            .received
            .fetch_add(batch.envelopes.len() as u64, Ordering::Relaxed);
        let seen_at_ns = now_ns();
        for (index, envelope) in batch.envelopes.iter().enumerate() {
            #[cfg(debug_assertions)]
            crate::poison::act(envelope);
            let before = self.points.len();
            let points = &mut self.points;
            // A panic is a defect of ours; it costs its own event and no other.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let observed = sky.for_event(envelope);
                ha_enrich::enrich_among(envelope, observed, options).map(|(mut point, report)| {
                    ha_enrich::registry::tag(&mut point, &batch.entities, &options.extra_tags);
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
                        batch: self.batches.len() as u32,
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
                    let dead_letter = DeadLetter::of_event(reason, "enrich", &error, envelope);
                    let dead_letter = dead_letter.replayed(replay);
                    ack_handle.became_dead_letter(index, &dead_letter);
                    self.dead_letters.push(dead_letter);
                }
                Err(panic) => {
                    panicked += 1;
                    self.points.truncate(before);
                    let what = panic_text(panic.as_ref());
                    let dead_letter =
                        DeadLetter::of_event(Reason::Poison, "enrich", &what, envelope);
                    let dead_letter = dead_letter.replayed(replay);
                    ack_handle.became_dead_letter(index, &dead_letter);
                    self.dead_letters.push(dead_letter);
                }
            }
        }
        if let Some(observation) = sky.new_observation(batch)
            && self.points.push(observation)
        {
            self.sources.push(Source {
                batch: self.batches.len() as u32,
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

    /// The dead letter for a point that the database refused; its batch's ack handle is told.
    pub fn dead_letter_for(&mut self, point: usize, error: &str) -> Option<DeadLetter> {
        let source = self.sources.get(point)?;
        let held = self.batches.get_mut(source.batch as usize)?;
        let dead_letter = ha_batch::with_decompressed(&held.payload, |bytes| {
            let batch = ha_batch::decode(bytes).ok()?;
            let envelope = batch.envelopes.get(source.envelope as usize)?;
            let dead_letter = DeadLetter::of_event(Reason::SinkRejected, "sink", &error, envelope);
            Some(dead_letter.replayed(held.replay))
        })?;
        held.ack_handle
            .became_dead_letter(source.envelope as usize, &dead_letter);
        Some(dead_letter)
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
