//! Everything that becomes a part of the stream, in one place: Home Assistant's events, those of gap
//! fill, and the producer's own.

use crate::observe::internal_event::Record;
use crate::receive::backfill::Backfilled;
use crate::receive::intake::{Intake, Numbered, Taken};
use ha_pipeline::{DeadLetter, now_ns};
use ha_source::{SourceEvent, SourceEvents};
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The inputs of the batcher. What the filters leave out is counted and skipped here.
pub struct Inputs {
    /// Filters and numbers.
    pub intake: Intake,
    /// Live events.
    pub source: SourceEvents,
    /// Events of gap fill.
    pub backfilled: mpsc::Receiver<Backfilled>,
    /// What the producer itself has to say.
    pub records: mpsc::Receiver<Record>,
    /// Set where tags depend on the registries: no live event is taken before they have been read
    /// once, or this is cancelled.
    pub hold_until: Option<CancellationToken>,
}

/// What comes in.
#[derive(Debug)]
pub enum Input {
    /// An event for the batch that is filling.
    Event(Numbered),
    /// An event that is too large, as the dead letter that it is already.
    DeadLetter(Box<DeadLetter>),
    /// The connection to Home Assistant stands.
    Connected,
    /// It is gone.
    Disconnected,
    /// Gap fill has handed over all that there is of the gap with this number.
    GapFilled(u64),
}

impl Inputs {
    /// The next input; `None` when the source has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Input> {
        loop {
            let input = tokio::select! {
                () = read_or_cancelled(&mut self.intake, self.hold_until.as_ref()), if self.hold_until.is_some() => {
                    self.hold_until = None;
                    None
                }
                event = self.source.recv(), if self.hold_until.is_none() => {
                    self.intake.take_source(event?)
                }
                Some(backfilled) = self.backfilled.recv() => match backfilled {
                    Backfilled::Event(event) => {
                        self.intake.take_backfilled(event, now_ns()).map(Input::Event)
                    }
                    Backfilled::Done(number) => Some(Input::GapFilled(number)),
                },
                Some(record) = self.records.recv() => Some(Input::Event(record.into())),
            };
            if input.is_some() {
                return input;
            }
        }
    }

    /// The next live input, if one is there.
    pub fn try_next_live(&mut self) -> Option<Input> {
        while self.hold_until.is_none() {
            let input = self.intake.take_source(self.source.try_recv()?);
            if input.is_some() {
                return input;
            }
        }
        None
    }

    /// Whether no live event is there at the moment.
    pub fn is_drained(&self) -> bool {
        self.hold_until.is_some() || self.source.is_empty()
    }
}

/// Returns when the registries have been read once, or the wait for them is cancelled.
async fn read_or_cancelled(intake: &mut Intake, cancelled: Option<&CancellationToken>) {
    let Some(cancelled) = cancelled else { return };
    tokio::select! {
        // An error: nobody reads them any more.
        _ = intake.registry.changed() => {}
        () = cancelled.cancelled() => {}
    }
}

impl Intake {
    /// `None` for what is left out.
    fn take_source(&mut self, event: SourceEvent) -> Option<Input> {
        match event {
            SourceEvent::Event(event) => match self.take(event) {
                Taken::Event(event) => Some(Input::Event(event)),
                Taken::DeadLetter(dead_letter) => Some(Input::DeadLetter(dead_letter)),
                Taken::Filtered => None,
            },
            SourceEvent::Bad {
                error,
                excerpt,
                count,
                ..
            } => {
                let unreadable = &self.metrics.totals.unreadable;
                unreadable.fetch_add(count, Ordering::Relaxed);
                tracing::warn!(
                    error,
                    excerpt,
                    count,
                    "unparseable message from Home Assistant"
                );
                None
            }
            SourceEvent::Connected { ha_version, .. } => {
                tracing::info!(ha_version, "connected to Home Assistant, subscribed");
                Some(Input::Connected)
            }
            SourceEvent::Disconnected { reason, .. } => {
                tracing::warn!(%reason, "disconnected from Home Assistant");
                Some(Input::Disconnected)
            }
        }
    }
}
