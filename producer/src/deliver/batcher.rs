//! Frames: an event that comes alone leaves at once; after that the next frame fills, for some
//! milliseconds, or longer while several before it are not confirmed. So there are never more than
//! some sixty frames a second that are not full, whatever the rate, and at a home's rate as many as
//! the thread has looks (`pace`): what a frame costs here, in the broker and in a worker is several
//! times what an event costs.

use crate::deliver::encoded::EncodedFrame;
use crate::deliver::router::Router;
use crate::observe::internal_event::Record;
use crate::pace;
use crate::receive::backfill::{Backfilled, Gap, OpenGap};
use crate::receive::intake::{Intake, Numbered, Taken};
use crate::receive::registry::EntityRow;
use crate::receive::watermark::Watermark;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ha_frame::{EntityFacts, Frame};
use ha_pipeline::{Letter, now_ns};
use ha_settings::FramingSettings;
use ha_source::{SourceEvent, SourceEvents};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// With the window full for so long, a frame goes to the spool instead of waiting.
const WINDOW_PATIENCE: Duration = Duration::from_millis(500);

/// While others are on their way, a frame that is not full fills for so long at most. Where broker
/// and workers keep up, it need not: they confirm sooner. Where they do not, fewer and larger frames
/// are what helps.
const COMPANY_MAX: Duration = Duration::from_millis(200);

/// With so many on their way, broker and workers do not keep up. One more than what is under way
/// where they do: a confirm may come just after a look, and is seen with the next.
const UNCONFIRMED_MANY: usize = 3;

/// Frames on their way to the disk because the window was full, and letters on their way.
const ASIDE_MAX: usize = 64;

/// The frame that is filling.
#[derive(Debug, Default)]
struct OpenFrame {
    events: Vec<Numbered>,
    bytes: usize,
    /// Those that are records.
    records: u32,
    /// Those that have a number.
    live: u64,
    /// When the first of them was received.
    received_at_ns: i64,
    /// The oldest and the newest source time.
    span_ns: Option<(i64, i64)>,
    opened_at: Option<Instant>,
}

impl OpenFrame {
    fn push(&mut self, event: Numbered) {
        if self.live == 0 {
            self.received_at_ns = event.received_at_ns;
        }
        self.live += u64::from(event.is_live());
        match event.source_time_ns {
            Some(time_ns) => {
                let (oldest_ns, newest_ns) = self.span_ns.unwrap_or((time_ns, time_ns));
                self.span_ns = Some((oldest_ns.min(time_ns), newest_ns.max(time_ns)));
            }
            None => self.records += 1,
        }
        self.bytes += event.json.len();
        self.events.push(event);
        self.opened_at.get_or_insert_with(Instant::now);
    }

    fn oldest_ns(&self) -> Option<i64> {
        self.span_ns.map(|(oldest_ns, _)| oldest_ns)
    }

    fn is_full(&self, limits: &FramingSettings) -> bool {
        self.events.len() >= limits.events_max || self.bytes >= limits.bytes_max
    }

    /// The frame, and its span, which ends when the frame is safe.
    fn encode(self, intake: &Intake) -> anyhow::Result<(EncodedFrame, ha_trace::Span)> {
        let envelopes: Vec<_> = self
            .events
            .iter()
            .map(|event| event.envelope(&intake.instance, intake.epoch))
            .collect();
        let count = envelopes.len() as u32;
        let received_at_ns = envelopes.first().map_or(0, |first| first.received_at_ns);
        let span = ha_trace::frame(received_at_ns, count);
        let mut frame = Frame::new(envelopes);
        frame.home = intake.home.facts();
        frame.entities = entities(&self.events);
        let mut payload = Vec::with_capacity(self.bytes + 160 * self.events.len() + 256);
        ha_frame::encode(&frame, &mut payload)?;
        let frame = EncodedFrame {
            payload: payload.into(),
            envelopes: count,
            events: count - self.records,
            oldest_ns: self.oldest_ns().unwrap_or_else(now_ns),
            is_first_offer: true,
            trace: span.context(),
        };
        Ok((frame, span))
    }
}

/// The facts of the events' entities, each once.
fn entities(events: &[Numbered]) -> Vec<EntityFacts<'_>> {
    let mut rows: Vec<&EntityRow> = events
        .iter()
        .filter_map(|event| event.facts.as_deref())
        .collect();
    rows.sort_unstable_by(|one, other| one.record.entity_id.cmp(&other.record.entity_id));
    rows.dedup_by(|one, other| one.record.entity_id == other.record.entity_id);
    rows.into_iter().filter_map(EntityRow::facts).collect()
}

/// Makes a record, if there is anything to say.
pub type MakeRecord = Box<dyn FnOnce() -> Option<Record> + Send>;

/// The framer's neighbours.
pub struct Neighbours {
    /// Live events.
    pub source: SourceEvents,
    /// Events of gap fill.
    pub backfilled: mpsc::Receiver<Backfilled>,
    /// What the producer itself has to say.
    pub records: mpsc::Receiver<Record>,
    /// Makes the record of the end, when all else is safe.
    pub last_record: Option<MakeRecord>,
    /// Set where tags depend on the registries: no event is taken before they have been read once,
    /// or this is cancelled.
    pub hold_until: Option<CancellationToken>,
    /// Where gaps are told.
    pub gaps: watch::Sender<Gap>,
    /// Shows the gap that is not filled.
    pub open_gap: OpenGap,
    /// Where frames go.
    pub router: Arc<Router>,
    /// How far the stream is safe, nanoseconds of source time.
    pub mark_ns: watch::Sender<Option<i64>>,
}

/// Fills frames and follows them until they are safe.
pub struct Framer {
    /// Filters and numbers.
    pub intake: Intake,
    /// Limits of a frame.
    pub limits: FramingSettings,
    /// How far the stream is safe.
    pub watermark: Watermark,
}

/// What a frame under way gives back.
struct Safe {
    envelopes: usize,
    /// Events in it that have a number.
    live: u64,
    /// When the first of those was received.
    received_at_ns: i64,
    /// The oldest and the newest source time.
    span_ns: Option<(i64, i64)>,
}

impl Framer {
    /// Takes the source's events until it ends, and returns when every frame is safe.
    ///
    /// # Errors
    /// A frame that cannot be encoded: a defect, since events are bounded.
    pub async fn run(mut self, neighbours: Neighbours) -> anyhow::Result<()> {
        let Neighbours {
            mut source,
            mut backfilled,
            mut records,
            mut last_record,
            hold_until,
            gaps,
            open_gap,
            router,
            mark_ns,
        } = neighbours;
        open_gap.set(self.watermark.gap_from_ns());
        let mut open = OpenFrame::default();
        let mut under_way = FuturesUnordered::new();
        let mut aside = FuturesUnordered::new();
        let mut events_under_way = 0;
        let mut ended = false;
        let mut last_left: Option<Instant> = None;
        let mut gathered = false;
        let mut known = self.intake.registry.clone();
        let mut held = hold_until.is_some();
        let hold_until = hold_until.unwrap_or_default();
        loop {
            let now = Instant::now();
            let full = open.is_full(&self.limits);
            let room = events_under_way < router.window_events();
            let due = match open.opened_at {
                Some(_) if room && (full || ended) => Some(now),
                Some(opened) if room => {
                    let next = last_left.map_or(now, |left| left + self.limits.age_max);
                    let keeps_up =
                        under_way.len() < UNCONFIRMED_MANY || self.limits.age_max.is_zero();
                    Some(if keeps_up {
                        next
                    } else {
                        next.max(opened + COMPANY_MAX)
                    })
                }
                Some(opened) if aside.len() < ASIDE_MAX => Some(opened + WINDOW_PATIENCE),
                _ => None,
            };
            let takes = !held && !ended && !full && aside.len() < ASIDE_MAX;
            let is_due = due.is_some_and(|due| due <= now);
            if is_due && takes && !gathered {
                // What the thread has before it belongs into this frame: it would have to wait for
                // the next, and that for the next look.
                tokio::task::yield_now().await;
                gathered = source.is_empty();
            }
            if is_due && (gathered || !takes) {
                gathered = false;
                last_left = Some(now);
                let (span_ns, live, received_at_ns) =
                    (open.span_ns, open.live, open.received_at_ns);
                let (frame, span) = std::mem::take(&mut open).encode(&self.intake)?;
                let envelopes = frame.envelopes as usize;
                let safe = Safe {
                    envelopes,
                    live,
                    received_at_ns,
                    span_ns,
                };
                if let Some((oldest_ns, _)) = span_ns {
                    self.watermark.under_way(oldest_ns);
                }
                let router = Arc::clone(&router);
                if room {
                    events_under_way += envelopes;
                    under_way.push(async move {
                        let trace = frame.trace.clone();
                        ha_trace::within(&trace, router.deliver(frame)).await;
                        drop(span);
                        safe
                    });
                } else {
                    aside.push(
                        async move {
                            let trace = frame.trace.clone();
                            ha_trace::within(&trace, router.set_aside(frame)).await;
                            drop(span);
                            safe
                        }
                        .boxed(),
                    );
                }
                continue;
            }
            if ended && open.events.is_empty() && under_way.is_empty() && aside.is_empty() {
                if let Some(record) = last_record.take().and_then(|make| make()) {
                    open.push(record.into());
                    continue;
                }
                tell_mark(&mark_ns, self.watermark.mark_ns(None));
                return Ok(());
            }
            tokio::select! {
                Some(safe) = under_way.next(), if !under_way.is_empty() => {
                    events_under_way -= safe.envelopes;
                    self.is_safe(&safe);
                    tell_mark(&mark_ns, self.watermark.mark_ns(open.oldest_ns()));
                }
                Some(safe) = aside.next(), if !aside.is_empty() => {
                    self.is_safe(&safe);
                }
                event = source.recv(), if takes => match event {
                    Some(event) => {
                        let mut letters = Vec::new();
                        self.take(event, &mut open, &mut letters, &gaps);
                        while !open.is_full(&self.limits) {
                            let Some(event) = source.try_recv() else { break };
                            self.take(event, &mut open, &mut letters, &gaps);
                        }
                        open_gap.set(self.watermark.gap_from_ns());
                        // A connection is a beginning, even where nothing happens after it.
                        if mark_ns.borrow().is_none() {
                            mark_ns.send_replace(self.watermark.mark_ns(open.oldest_ns()));
                        }
                        if !letters.is_empty() {
                            let router = Arc::clone(&router);
                            let safe = Safe {
                                envelopes: 0,
                                live: letters.len() as u64,
                                received_at_ns: now_ns(),
                                span_ns: None,
                            };
                            aside.push(
                                async move {
                                    router.dead_letters(letters).await;
                                    safe
                                }
                                .boxed(),
                            );
                        }
                    }
                    None => ended = true,
                },
                _ = known.changed(), if held => held = false,
                () = hold_until.cancelled(), if held => held = false,
                Some(event) = backfilled.recv(), if !ended && !full => match event {
                    Backfilled::Event(event) => {
                        if let Some(event) = self.intake.take_backfilled(event, now_ns()) {
                            open.push(event);
                        }
                    }
                    Backfilled::Done(number) if number == gaps.borrow().number => {
                        tracing::info!("the gap is filled");
                        self.watermark.gap_filled();
                        open_gap.set(None);
                    }
                    Backfilled::Done(_) => {}
                },
                Some(record) = records.recv(), if !ended && !full => open.push(record.into()),
                () = sleep_until(due), if due.is_some() => {}
            }
        }
    }

    fn is_safe(&mut self, safe: &Safe) {
        let totals = &self.intake.metrics.totals;
        totals.settled.fetch_add(safe.live, Ordering::Relaxed);
        let took_us = now_ns().saturating_sub(safe.received_at_ns) / 1_000;
        let settling_us = u64::try_from(took_us).unwrap_or(0) * safe.live;
        totals.settling_us.fetch_add(settling_us, Ordering::Relaxed);
        if let Some((oldest_ns, newest_ns)) = safe.span_ns {
            self.watermark.safe(oldest_ns, newest_ns);
        }
    }

    fn take(
        &mut self,
        event: SourceEvent,
        open: &mut OpenFrame,
        letters: &mut Vec<Letter>,
        gaps: &watch::Sender<Gap>,
    ) {
        match event {
            SourceEvent::Event(event) => {
                pace::event_taken();
                match self.intake.take(event) {
                    Taken::Event(event) => open.push(event),
                    Taken::Letter(letter) => letters.push(*letter),
                    Taken::Filtered => {}
                }
            }
            SourceEvent::Bad {
                error,
                excerpt,
                count,
                ..
            } => {
                self.intake
                    .metrics
                    .totals
                    .unreadable
                    .fetch_add(count, Ordering::Relaxed);
                tracing::warn!(
                    error,
                    excerpt,
                    count,
                    "Home Assistant sent what is no message"
                );
            }
            SourceEvent::Connected { ha_version, .. } => {
                tracing::info!(ha_version, "connected to Home Assistant, subscribed");
                let from = self.watermark.gap_from_ns();
                gaps.send_modify(|gap| {
                    *gap = Gap {
                        number: gap.number + 1,
                        from,
                    }
                });
                self.watermark.connected(now_ns());
            }
            SourceEvent::Disconnected { reason, .. } => {
                tracing::warn!(%reason, "disconnected from Home Assistant");
                self.watermark.gap_begins(open.oldest_ns());
            }
        }
    }
}

/// Only what is new: a frame of records alone moves no mark, and must not hold up the next one that
/// does.
fn tell_mark(mark_ns: &watch::Sender<Option<i64>>, mark: Option<i64>) {
    mark_ns.send_if_modified(|told| {
        let is_new = *told != mark;
        *told = mark;
        is_new
    });
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
