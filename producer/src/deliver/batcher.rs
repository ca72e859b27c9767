//! Batches: takes the inputs, decides when a batch leaves, and follows it until it is safe.
//!
//! When is [`Batching`]'s rule; where to is the router's decision. What a batch costs here, in the
//! broker and in a worker is several times what an event costs.

use crate::deliver::open_batch::{OpenBatch, Safe};
use crate::deliver::router::Router;
use crate::observe::internal_event::Record;
use crate::observe::metrics::Totals;
use crate::receive::continuity::Continuity;
use crate::receive::home::Home;
use crate::receive::inputs::{Input, Inputs};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ha_pipeline::{DeadLetter, now_ns};
use ha_resilience::{Batching, Filling, Leave};
use ha_settings::BatchingSettings;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// With the router's window full for this long, a batch goes to the spool instead of waiting.
const WINDOW_PATIENCE: Duration = Duration::from_millis(500);

/// Between two batches while broker and workers do not keep up. Where they do, they confirm sooner.
const INTERVAL_LOADED: Duration = Duration::from_millis(200);

/// With this many batches unconfirmed, broker and workers do not keep up.
const UNCONFIRMED_MANY: usize = 3;

/// Batches on their way to the disk because the window is full, and dead letters on their way.
const OUTSIDE_WINDOW_MAX: usize = 64;

/// Makes an internal event, if there is anything to say.
pub type MakeRecord = Box<dyn FnOnce() -> Option<Record> + Send>;

/// Fills batches and follows them until they are safe.
pub struct Batcher {
    /// The home's name.
    pub instance: String,
    /// This run: milliseconds since 1970.
    pub run_id: u64,
    /// Limits of a batch.
    pub limits: BatchingSettings,
    /// What comes in.
    pub inputs: Inputs,
    /// Facts that travel in batches.
    pub home: Home,
    /// Makes the internal event of the end, when all else is safe.
    pub last_record: Option<MakeRecord>,
    /// How far the stream is safe.
    pub continuity: Continuity,
    /// Where batches go.
    pub router: Arc<Router>,
    /// Counts what is safe.
    pub totals: Arc<Totals>,
}

/// The state of one run.
#[derive(Default)]
struct Run {
    open: OpenBatch,
    previous_left: Option<Instant>,
    /// Batches and dead letters that are not safe yet.
    under_way: FuturesUnordered<BoxFuture<'static, Safe>>,
    /// The source has ended.
    ended: bool,
}

impl Batcher {
    /// Takes the inputs until the source ends, and returns when every batch is safe.
    ///
    /// # Errors
    /// A batch that cannot be encoded: a defect, since events are bounded.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut run = Run::default();
        loop {
            let now = Instant::now();
            let leave = self.leave(&run, now);
            if leave == Leave::Now {
                self.gather(&mut run).await;
                self.send(&mut run, now)?;
                continue;
            }
            if run.ended && leave == Leave::WhenFilled && run.under_way.is_empty() {
                if let Some(record) = self.last_record.take().and_then(|make| make()) {
                    run.open.push(record.into());
                    continue;
                }
                self.continuity.publish(None);
                return Ok(());
            }
            tokio::select! {
                Some(safe) = run.under_way.next(), if !run.under_way.is_empty() => {
                    self.is_safe(&safe);
                    self.continuity.publish(run.open.oldest_ns());
                }
                input = self.inputs.next(), if self.takes(&run) => match input {
                    Some(input) => {
                        self.take(input, &mut run);
                        self.take_ready(&mut run);
                    }
                    None => run.ended = true,
                },
                () = wait(leave) => {}
            }
        }
    }

    /// When the open batch leaves.
    fn leave(&self, run: &Run, now: Instant) -> Leave {
        let Some(opened_at) = run.open.opened_at() else {
            return Leave::WhenFilled;
        };
        if !self.router.has_room() {
            let due = (opened_at + WINDOW_PATIENCE).into_std();
            return match self.outside_window(run) < OUTSIDE_WINDOW_MAX {
                true if due <= now.into_std() => Leave::Now,
                true => Leave::At(due),
                false => Leave::WhenFilled,
            };
        }
        let batching = Batching {
            interval: self.limits.age_max,
            interval_loaded: match self.limits.age_max.is_zero() {
                true => Duration::ZERO,
                false => self.limits.age_max.max(INTERVAL_LOADED),
            },
        };
        let filling = Filling {
            is_empty: false,
            is_full: run.open.is_full(&self.limits),
            is_last: run.ended,
            is_loaded: self.router.unconfirmed() >= UNCONFIRMED_MANY,
            previous_left: run.previous_left.map(Instant::into_std),
        };
        batching.decide(&filling, now.into_std())
    }

    fn outside_window(&self, run: &Run) -> usize {
        run.under_way
            .len()
            .saturating_sub(self.router.unconfirmed())
    }

    fn takes(&self, run: &Run) -> bool {
        !run.ended
            && !run.open.is_full(&self.limits)
            && self.outside_window(run) < OUTSIDE_WINDOW_MAX
    }

    /// Takes what the same read of the socket brought and the tasks in front still hold: it would
    /// have to wait for the next batch.
    async fn gather(&mut self, run: &mut Run) {
        while self.takes(run) {
            tokio::task::yield_now().await;
            if self.inputs.is_drained() {
                return;
            }
            self.take_ready(run);
        }
    }

    fn take_ready(&mut self, run: &mut Run) {
        while self.takes(run) {
            let Some(input) = self.inputs.try_next_live() else {
                return;
            };
            self.take(input, run);
        }
    }

    fn take(&mut self, input: Input, run: &mut Run) {
        match input {
            Input::Event(event) => run.open.push(event),
            Input::DeadLetter(dead_letter) => self.dead_letter(*dead_letter, run),
            Input::Connected => self.continuity.connected(run.open.oldest_ns()),
            Input::Disconnected => self.continuity.disconnected(run.open.oldest_ns()),
            Input::GapFilled(number) => self.continuity.gap_filled(number),
        }
    }

    fn dead_letter(&self, dead_letter: DeadLetter, run: &mut Run) {
        let router = Arc::clone(&self.router);
        let safe = Safe {
            live: 1,
            received_at_ns: now_ns(),
            span_ns: None,
        };
        let storing = async move {
            router.dead_letters(vec![dead_letter]).await;
            safe
        };
        run.under_way.push(storing.boxed());
    }

    fn send(&mut self, run: &mut Run, now: Instant) -> anyhow::Result<()> {
        run.previous_left = Some(now);
        let open = std::mem::take(&mut run.open);
        let (batch, safe, span) = open.encode(&self.instance, self.run_id, self.home.facts())?;
        if let Some((oldest_ns, _)) = safe.span_ns {
            self.continuity.under_way(oldest_ns);
        }
        let trace = batch.trace.clone();
        let delivering = self.router.deliver(batch);
        run.under_way.push(
            async move {
                ha_trace::within(&trace, delivering).await;
                drop(span);
                safe
            }
            .boxed(),
        );
        Ok(())
    }

    fn is_safe(&mut self, safe: &Safe) {
        let totals = &self.totals;
        totals.settled.fetch_add(safe.live, Ordering::Relaxed);
        let took_us = now_ns().saturating_sub(safe.received_at_ns) / 1_000;
        let settling_us = u64::try_from(took_us).unwrap_or(0) * safe.live;
        totals.settling_us.fetch_add(settling_us, Ordering::Relaxed);
        if let Some(span_ns) = safe.span_ns {
            self.continuity.safe(span_ns);
        }
    }
}

async fn wait(leave: Leave) {
    match leave {
        Leave::At(due) => tokio::time::sleep_until(due.into()).await,
        Leave::Now | Leave::WhenFilled => std::future::pending().await,
    }
}
