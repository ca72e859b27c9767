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
use tokio::sync::watch;
use tokio::time::Instant;

/// A frame ready for the route.
#[derive(Debug, Clone)]
pub struct EncodedFrame {
    /// The bytes.
    pub payload: Bytes,
    /// Envelopes in it.
    pub events: u32,
}

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
        let mut frame = Frame::new(envelopes);
        frame.home = home;
        let mut payload = Vec::with_capacity(self.bytes + 160 * self.events.len() + 256);
        ha_frame::encode(&frame, &mut payload)?;
        Ok(EncodedFrame { payload: payload.into(), events })
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
    let mut events_under_way = 0;
    let mut ended = false;
    loop {
        let room = events_under_way < router.window_events();
        let due = open.opened_at.map(|opened| opened + limits.age_max);
        let ready = open.is_full(&limits)
            || under_way.is_empty()
            || ended
            || due.is_some_and(|due| due <= Instant::now());
        if !open.events.is_empty() && room && ready {
            let frame = std::mem::take(&mut open).encode(&intake, home.borrow().clone())?;
            events_under_way += frame.events as usize;
            let router = Arc::clone(&router);
            under_way.push(async move { router.deliver(frame).await });
            continue;
        }
        if ended && open.events.is_empty() && under_way.is_empty() {
            return Ok(());
        }
        tokio::select! {
            Some(events) = under_way.next(), if !under_way.is_empty() => {
                events_under_way -= events as usize;
                intake.metrics.delivered(u64::from(events));
            }
            event = source.recv(), if !ended && !open.is_full(&limits) => match event {
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
            () = sleep_until(due), if due.is_some() && room => {}
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
