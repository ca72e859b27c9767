//! Draining the spool: oldest first, through the same route, a few batches at a time, so that live
//! events find room. A batch is freed only after the route has confirmed it.

use super::Router;
use crate::deliver::encoded::EncodedBatch;
use futures_util::future::join_all;
use ha_batch::Batch;
use ha_pipeline::{DeadLetter, Reason};
use ha_resilience::State;
use ha_spool::{SpoolError, SpooledBatch};
use std::time::Duration;

/// Batches offered together: about half of the publisher's window when they are full.
const PAGE_BATCHES_MAX: usize = 64;
const PAGE_BYTES_MAX: usize = 512 << 10;

/// A batch that was refused so often while others passed is a dead letter.
const REFUSALS_MAX: u32 = 3;

/// How long to wait while the route or the disk is away.
const PAUSE: Duration = Duration::from_millis(100);

impl Router {
    /// Drains for as long as the process runs.
    pub async fn drain(&self) {
        let mut stats = self.spool.watch();
        loop {
            if stats.borrow_and_update().batches == 0 {
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

    /// One page; whether any batch got through.
    async fn drain_page(&self) -> Result<bool, SpoolError> {
        // While the route is being tried, one batch is the probe; the others would be refused.
        let batches_max = if self.state() == State::Passing {
            PAGE_BATCHES_MAX
        } else {
            1
        };
        let page = self.spool.oldest(0, batches_max, PAGE_BYTES_MAX).await?;
        let offers = page.iter().map(|spooled| {
            // The spool counts events only.
            let decoded = ha_batch::decode(&spooled.batch.payload).ok();
            let envelopes =
                decoded.map_or(spooled.batch.events, |batch| batch.envelopes.len() as u32);
            let batch = EncodedBatch {
                payload: spooled.batch.payload.clone(),
                envelopes,
                events: spooled.batch.events,
                oldest_ns: spooled.batch.oldest_ns,
                is_first_offer: false,
                trace: ha_trace::Context::default(),
            };
            async move { self.offer(&batch).await }
        });
        let outcomes = join_all(offers).await;
        let (mut done, mut kept, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut events = 0;
        for (spooled, outcome) in page.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {
                    events += u64::from(spooled.batch.events);
                    done.push(spooled.id);
                }
                Err(Some(error)) if error.is_about_the_batch() => refused.push((spooled, error)),
                Err(_) => kept.push(spooled.id),
            }
        }
        // Refusals count only while the route takes other batches.
        let passing = !done.is_empty();
        for (spooled, error) in refused {
            if passing && self.spool.count_refusal(spooled.id).await? >= REFUSALS_MAX {
                self.dead_letters(dead_letters_of(&spooled, &error.to_string()))
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

    /// Frees delivered batches, however long the disk takes: sending them again would be harmless,
    /// forgetting that they were sent would send them for ever.
    async fn remove(&self, ids: Vec<i64>) {
        while !ids.is_empty() {
            match self.spool.remove(ids.clone()).await {
                Ok(_) => return,
                Err(SpoolError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "delivered batches cannot be removed from the spool");
                    tokio::time::sleep(PAUSE * 10).await;
                }
            }
        }
    }
}

fn dead_letters_of(spooled: &SpooledBatch, error: &str) -> Vec<DeadLetter> {
    let payload = spooled.batch.payload.clone();
    let dead_letters = |batch: Batch<'_>| {
        let of = |envelope| DeadLetter::of_event(Reason::Refused, "route", &error, envelope);
        batch.envelopes.iter().map(of).collect()
    };
    match ha_batch::decode(&payload) {
        Ok(batch) => dead_letters(batch),
        Err(error) => vec![DeadLetter::undecodable(payload.clone(), &error)],
    }
}
