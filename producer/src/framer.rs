//! Frames: an event travels alone while nothing is under way; while earlier frames are
//! unconfirmed, the next one fills, for a few milliseconds at most. The busier the route, the
//! fuller the frames.

use crate::intake::{Intake, Numbered, Taken};
use crate::router::Router;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ha_frame::{Frame, HomeFacts};
use ha_pipeline::Letter;
use ha_settings::FramingSettings;
use ha_source::{SourceEvent, SourceEvents};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A frame ready for the route.
#[derive(Debug, Clone)]
pub struct EncodedFrame {
    /// The bytes.
    pub payload: Bytes,
    /// Envelopes in it.
    pub events: u32,
    /// Source time of the oldest event, nanoseconds since the epoch.
    pub oldest_ns: i64,
}

/// With the window full for so long, a frame goes to the spool instead of waiting.
const WINDOW_PATIENCE: Duration = Duration::from_millis(500);

/// Frames on their way to the disk because the window was full.
const SET_ASIDE_FRAMES_MAX: usize = 64;

/// The frame that is filling.
#[derive(Debug, Default)]
struct OpenFrame {
    events: Vec<Numbered>,
    bytes: usize,
    opened_at: Option<Instant>,
}

impl OpenFrame {
    fn push(&mut self, event: Numbered) {
        self.bytes += event.json.len();
        self.events.push(event);
        self.opened_at.get_or_insert_with(Instant::now);
    }

    fn is_full(&self, limits: &FramingSettings) -> bool {
        self.events.len() >= limits.events_max || self.bytes >= limits.bytes_max
    }

    fn encode(self, intake: &Intake, home: Option<HomeFacts<'static>>) -> anyhow::Result<EncodedFrame> {
        let envelopes: Vec<_> = self
            .events
            .iter()
            .map(|event| event.envelope(&intake.instance, intake.epoch))
            .collect();
        let events = envelopes.len() as u32;
        let oldest_ns = self.events.iter().map(|event| event.source_time_ns).min().unwrap_or(0);
        let mut frame = Frame::new(envelopes);
        frame.home = home;
        let mut payload = Vec::with_capacity(self.bytes + 160 * self.events.len() + 256);
        ha_frame::encode(&frame, &mut payload)?;
        Ok(EncodedFrame { payload: payload.into(), events, oldest_ns })
    }
}

/// Takes the source's events until it ends, and returns when every frame is safe.
///
/// # Errors
/// A frame that cannot be encoded: a defect, since events are bounded.
pub async fn run(
    mut source: SourceEvents,
    mut intake: Intake,
    limits: FramingSettings,
    router: Arc<Router>,
    home: watch::Receiver<Option<HomeFacts<'static>>>,
) -> anyhow::Result<()> {
    let mut open = OpenFrame::default();
    let mut under_way = FuturesUnordered::new();
    let mut set_aside = FuturesUnordered::new();
    let mut events_under_way = 0;
    let mut ended = false;
    loop {
        let now = Instant::now();
        let full = open.is_full(&limits);
        let room = events_under_way < router.window_events();
        let aside = !room && set_aside.len() < SET_ASIDE_FRAMES_MAX;
        let due = match open.opened_at {
            Some(opened) if room => Some(opened + limits.age_max),
            Some(opened) if aside => Some(opened + WINDOW_PATIENCE),
            _ => None,
        };
        let ready = due.is_some_and(|due| {
            due <= now || (room && (full || ended || under_way.is_empty()))
        });
        if ready {
            let frame = std::mem::take(&mut open).encode(&intake, home.borrow().clone())?;
            let (router, events) = (Arc::clone(&router), frame.events as usize);
            if room {
                events_under_way += events;
                under_way.push(async move {
                    router.deliver(frame).await;
                    events
                });
            } else {
                set_aside.push(async move { router.set_aside(frame).await });
            }
            continue;
        }
        if ended && open.events.is_empty() && under_way.is_empty() && set_aside.is_empty() {
            return Ok(());
        }
        tokio::select! {
            Some(events) = under_way.next(), if !under_way.is_empty() => {
                events_under_way -= events;
            }
            Some(()) = set_aside.next(), if !set_aside.is_empty() => {}
            event = source.recv(), if !ended && !full => match event {
                Some(event) => {
                    let mut letters = Vec::new();
                    take(event, &mut intake, &mut open, &mut letters);
                    while !open.is_full(&limits) {
                        let Some(event) = source.try_recv() else { break };
                        take(event, &mut intake, &mut open, &mut letters);
                    }
                    if !letters.is_empty() {
                        router.dead_letters(letters).await;
                    }
                }
                None => ended = true,
            },
            () = sleep_until(due), if due.is_some() => {}
        }
    }
}

fn take(event: SourceEvent, intake: &mut Intake, open: &mut OpenFrame, letters: &mut Vec<Letter>) {
    match event {
        SourceEvent::Event(event) => match intake.take(event) {
            Taken::Event(event) => open.push(event),
            Taken::Letter(letter) => letters.push(*letter),
            Taken::Filtered => {}
        },
        SourceEvent::Bad { error, excerpt, count, .. } => {
            intake.metrics.totals.unreadable.fetch_add(count, Ordering::Relaxed);
            tracing::warn!(error, excerpt, count, "Home Assistant sent what is no message");
        }
        SourceEvent::Connected { ha_version, .. } => {
            tracing::info!(ha_version, "connected to Home Assistant, subscribed");
        }
        SourceEvent::Disconnected { reason, .. } => {
            tracing::warn!(%reason, "disconnected from Home Assistant");
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
