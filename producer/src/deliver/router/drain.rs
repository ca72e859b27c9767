//! Draining the spool: oldest first, through the same route, a few frames at a time, so that live
//! events find room. A frame is freed only after the route has confirmed it.

use super::Router;
use crate::deliver::encoded::EncodedFrame;
use futures_util::future::join_all;
use ha_frame::Frame;
use ha_pipeline::{Letter, Reason};
use ha_resilience::State;
use ha_spool::{SpoolError, SpooledFrame};
use std::time::Duration;

/// Frames offered together: about half of the publisher's window when they are full.
const PAGE_FRAMES_MAX: usize = 64;
const PAGE_BYTES_MAX: usize = 512 << 10;

/// A frame that was refused so often while others passed is a dead letter.
const REFUSALS_MAX: u32 = 3;

/// How long to wait while the route or the disk is away.
const PAUSE: Duration = Duration::from_millis(100);

impl Router {
    /// Drains for as long as the process runs.
    pub async fn drain(&self) {
        let mut stats = self.spool.watch();
        loop {
            if stats.borrow_and_update().frames == 0 {
                if stats.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match self.drain_page().await {
                Ok(true) => {}
                Ok(false) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(%error, "the spool cannot be drained; trying again");
                    tokio::time::sleep(PAUSE * 10).await;
                }
            }
        }
    }

    /// One page; whether any frame got through.
    async fn drain_page(&self) -> Result<bool, SpoolError> {
        // While the route is being tried, one frame is the probe; the others would be refused.
        let frames_max = if self.state() == State::Passing {
            PAGE_FRAMES_MAX
        } else {
            1
        };
        let page = self.spool.oldest(0, frames_max, PAGE_BYTES_MAX).await?;
        let offers = page.iter().map(|spooled| {
            // The spool counts events only.
            let decoded = ha_frame::decode(&spooled.frame.payload).ok();
            let envelopes =
                decoded.map_or(spooled.frame.events, |frame| frame.envelopes.len() as u32);
            let frame = EncodedFrame {
                payload: spooled.frame.payload.clone(),
                envelopes,
                events: spooled.frame.events,
                oldest_ns: spooled.frame.oldest_ns,
                is_first_offer: false,
                trace: ha_trace::Context::default(),
            };
            async move { self.offer(&frame).await }
        });
        let outcomes = join_all(offers).await;
        let (mut done, mut kept, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut events = 0;
        for (spooled, outcome) in page.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {
                    events += u64::from(spooled.frame.events);
                    done.push(spooled.id);
                }
                Err(Some(error)) if error.is_about_the_frame() => refused.push((spooled, error)),
                Err(_) => kept.push(spooled.id),
            }
        }
        // Refusals count only while the route takes other frames.
        let passing = !done.is_empty();
        for (spooled, error) in refused {
            if passing && self.spool.count_refusal(spooled.id).await? >= REFUSALS_MAX {
                self.dead_letters(letters_of(&spooled, &error.to_string()))
                    .await;
                done.push(spooled.id);
            } else {
                kept.push(spooled.id);
            }
        }
        self.spool.release(kept).await?;
        self.remove(done).await;
        self.metrics.drained(events);
        Ok(passing)
    }

    /// Frees delivered frames, however long the disk takes: sending them again would be harmless,
    /// forgetting that they were sent would send them for ever.
    async fn remove(&self, ids: Vec<i64>) {
        while !ids.is_empty() {
            match self.spool.remove(ids.clone()).await {
                Ok(_) => return,
                Err(SpoolError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "delivered frames cannot be removed from the spool");
                    tokio::time::sleep(PAUSE * 10).await;
                }
            }
        }
    }
}

fn letters_of(spooled: &SpooledFrame, error: &str) -> Vec<Letter> {
    let payload = spooled.frame.payload.clone();
    let letters = |frame: Frame<'_>| {
        let of = |envelope| Letter::of_event(Reason::Refused, "route", &error, envelope);
        frame.envelopes.iter().map(of).collect()
    };
    match ha_frame::decode(&payload) {
        Ok(frame) => letters(frame),
        Err(error) => vec![Letter::undecodable(payload.clone(), &error)],
    }
}
