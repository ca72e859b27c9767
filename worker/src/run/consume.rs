//! One subscription, from its opening to its end: the task that takes deliveries is the one that
//! acknowledges them.
//!
//! A shutdown goes through three phases ([`Phase`]): the prefetch fills and nothing is acknowledged;
//! the consumer is cancelled; what is held is settled and acknowledged, a few times.

use crate::run::held::HeldDelivery;
use crate::run::in_flight::InFlight;
use crate::run::settle::{LastAcknowledgements, Unacknowledged};
use crate::run::split::{self, Splitter};
use futures_util::future::{BoxFuture, Fuse, FusedFuture, FutureExt};
use ha_broker::{BrokerError, Delivery, Subscription};
use ha_pipeline::{Outcome, SinkState, Work};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How a subscription ended.
#[derive(Debug)]
pub enum End {
    /// Shutdown: everything that was held is settled and acknowledged.
    Drained,
    /// Shutdown, and the grace was over first: what is held goes back to the queue.
    GraceOver {
        /// Deliveries given back.
        held: usize,
    },
    /// The database was away too long: everything goes back to the queue.
    SinkAway,
    /// The broker closed, or was lost.
    Lost(BrokerError),
    /// A batch of a newer version: everything goes back to the queue, for a newer worker.
    NewerVersion(u16),
}

/// The pipeline's two ends.
pub struct Stages {
    /// Batches go in.
    pub work: mpsc::Sender<Work<HeldDelivery>>,
    /// Deliveries come out.
    pub outcomes: mpsc::Receiver<Outcome<HeldDelivery>>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// After shutdown.
    pub grace: Duration,
    /// Deliveries are held at most this long while the database is away; less than the broker's consumer
    /// timeout, which would close the channel.
    pub sink_hold: Duration,
    /// Deliveries without an acknowledgement at one time.
    pub prefetch_messages: usize,
}

/// At a shutdown acknowledgements wait for the prefetch to fill. The broker takes back the deliveries
/// that are on their way when the consumer is cancelled, and counts that against them. With the
/// prefetch full, none are on their way. After each of these periods the worker asks whether the queue
/// has more to send.
const FILL: Duration = Duration::from_millis(200);

/// The longest that a slow queue is waited for.
const FILL_MAX: Duration = Duration::from_secs(5);

/// What a subscription is consumed with.
pub struct Consumer<'a> {
    /// Where deliveries come from; the caller closes it.
    pub subscription: &'a mut Subscription,
    /// Takes batches that keep coming back, one at a time; `None` where they are taken as they are.
    pub splitter: Option<&'a Splitter>,
    /// Whether the database takes writes.
    pub sink: watch::Receiver<SinkState>,
    /// Cancelled at a shutdown.
    pub shutdown: &'a CancellationToken,
    /// How long things may take.
    pub limits: Limits,
    /// Is told how many deliveries are held.
    pub in_flight: &'a InFlight,
}

/// How far a shutdown is.
enum Phase {
    Consuming,
    /// The prefetch fills: the consumer is cancelled when it is full, or when the queue has no more.
    Filling {
        deadline: Instant,
        ask_at: Instant,
        until: Instant,
    },
    /// No more deliveries come.
    Cancelled {
        deadline: Instant,
        last: LastAcknowledgements,
    },
}

impl Phase {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Consuming => None,
            Self::Filling { deadline, .. } | Self::Cancelled { deadline, .. } => Some(*deadline),
        }
    }
}

/// What is held.
struct Held<'a> {
    unacknowledged: Unacknowledged,
    /// As they came, compressed: memory is bounded by the prefetch and by one that is being split.
    suspects: VecDeque<Delivery>,
    splitting: Fuse<BoxFuture<'a, u64>>,
}

impl<'a> Consumer<'a> {
    /// Takes deliveries until shutdown or loss.
    ///
    /// However it ends, what is settled by then is acknowledged, unless the channel is lost.
    pub async fn run(mut self, stages: Stages) -> End {
        let Stages { work, mut outcomes } = stages;
        let mut work = Some(work);
        let mut held = Held {
            unacknowledged: Unacknowledged::default(),
            suspects: VecDeque::new(),
            splitting: Fuse::terminated(),
        };
        let mut phase = Phase::Consuming;
        let mut sink_away_since: Option<Instant> = None;
        let (mut is_written, mut sink_matters) = (false, true);
        let mut check_open = tokio::time::interval(Duration::from_secs(1));
        let end = loop {
            held.report(self.in_flight);
            match self.advance(&mut phase, &held.unacknowledged).await {
                Ok(true) => {}
                Ok(false) => break End::Drained, // or not: see below
                Err(error) => return End::Lost(error),
            }
            if let Err(error) = self.acknowledge(&mut phase, &mut held.unacknowledged) {
                return End::Lost(error);
            }
            held.split_next(self.splitter);
            if is_written && held.splitting.is_terminated() {
                break End::Drained;
            }
            let ask_at = match &phase {
                Phase::Filling { ask_at, .. } => Some(*ask_at),
                _ => None,
            };
            tokio::select! {
                delivery = self.subscription.next(), if work.is_some() => match delivery {
                    Some(Ok(delivery)) => {
                        let Some(item) = held.take(delivery, self.splitter.is_some()) else {
                            continue;
                        };
                        // Never waits: the channel is as wide as the prefetch.
                        let Some(work) = &work else { continue };
                        if work.send(item).await.is_err() {
                            return lost("the pipeline has ended");
                        }
                    }
                    Some(Err(error)) => return End::Lost(error),
                    // Cancelled, and everything that had arrived is taken.
                    None if phase.deadline().is_some() => work = None,
                    None => return lost("the broker ended the consumer"),
                },
                outcome = outcomes.recv(), if !is_written => {
                    if outcome.is_none() && phase.deadline().is_none() {
                        return lost("the pipeline has ended");
                    }
                    is_written = outcome.is_none();
                    if let Some(found) = held.settle_all(outcome, &mut outcomes) {
                        break End::NewerVersion(found);
                    }
                }
                tag = &mut held.splitting, if !held.splitting.is_terminated() => {
                    held.unacknowledged.settle(tag);
                }
                changed = self.sink.changed(), if sink_matters => {
                    sink_matters = changed.is_ok();
                    let away = *self.sink.borrow_and_update() != SinkState::Available;
                    sink_away_since = away.then(|| sink_away_since.unwrap_or_else(Instant::now));
                }
                () = passed(sink_away_since.map(|since| since + self.limits.sink_hold)) => {
                    break End::SinkAway;
                }
                () = self.shutdown.cancelled(), if matches!(phase, Phase::Consuming) => {
                    let (now, grace) = (Instant::now(), self.limits.grace);
                    phase = Phase::Filling {
                        deadline: now + grace,
                        ask_at: now + FILL,
                        until: now + FILL_MAX.min(grace / 2),
                    };
                }
                () = passed(ask_at) => {}
                () = passed(phase.deadline()) => break End::Drained, // or not: see below
                _ = check_open.tick() => if !self.subscription.is_open() {
                    return lost("the connection was closed");
                },
            }
        };
        held.settle_all(outcomes.try_recv().ok(), &mut outcomes);
        if let Some(tag) = held.unacknowledged.acknowledge_up_to()
            && let Err(error) = self.subscription.acknowledge(tag, true)
        {
            return End::Lost(error);
        }
        held.report(self.in_flight);
        // In time or not, what is held says.
        match (end, held.unacknowledged.len()) {
            (End::Drained, held @ 1..) => End::GraceOver { held },
            (end, _) => end,
        }
    }

    /// Cancels the consumer when its prefetch is full, or the queue has no more to send. False where
    /// the grace is over first.
    async fn advance(
        &mut self,
        phase: &mut Phase,
        unacknowledged: &Unacknowledged,
    ) -> Result<bool, BrokerError> {
        let Phase::Filling {
            deadline,
            ask_at,
            until,
        } = phase
        else {
            return Ok(true);
        };
        let now = Instant::now();
        if unacknowledged.len() < self.limits.prefetch_messages {
            if *ask_at > now {
                return Ok(true);
            }
            if now < *until && self.subscription.waiting().await? > 0 {
                *ask_at = Instant::now() + FILL;
                return Ok(true);
            }
        }
        let deadline = *deadline;
        match tokio::time::timeout_at(deadline, self.subscription.cancel()).await {
            Ok(cancelled) => cancelled?,
            Err(_) => return Ok(false),
        }
        let now = Instant::now();
        let last = LastAcknowledgements::over(deadline - now, now);
        *phase = Phase::Cancelled { deadline, last };
        Ok(true)
    }

    /// Acknowledges the settled beginning, if it is time to.
    fn acknowledge(
        &self,
        phase: &mut Phase,
        unacknowledged: &mut Unacknowledged,
    ) -> Result<(), BrokerError> {
        let now = Instant::now();
        let is_due = match &*phase {
            Phase::Consuming => true,
            Phase::Filling { .. } => false,
            Phase::Cancelled { last, .. } => last.is_due(now),
        };
        if is_due && let Some(tag) = unacknowledged.acknowledge_up_to() {
            self.subscription.acknowledge(tag, true)?;
            if let Phase::Cancelled { last, .. } = phase {
                last.sent(now);
            }
        }
        Ok(())
    }
}

impl<'a> Held<'a> {
    fn report(&mut self, in_flight: &InFlight) {
        let acknowledged = self.unacknowledged.take_acknowledged();
        in_flight.observe(self.unacknowledged.len(), acknowledged);
    }

    /// Notes a delivery: work for the pipeline, or a suspect that waits to be split.
    fn take(&mut self, delivery: Delivery, is_of_producers: bool) -> Option<Work<HeldDelivery>> {
        self.unacknowledged.delivered(delivery.tag);
        if is_of_producers && split::is_suspect(&delivery) {
            self.suspects.push_back(delivery);
            return None;
        }
        let replay = ha_dead_letters::replay(&delivery);
        let ack_handle = HeldDelivery::new(&delivery, is_of_producers);
        Some(Work {
            payload: delivery.payload.into(),
            replay,
            ack_handle,
        })
    }

    fn split_next(&mut self, splitter: Option<&'a Splitter>) {
        if self.splitting.is_terminated()
            && let Some(splitter) = splitter
            && let Some(delivery) = self.suspects.pop_front()
        {
            self.splitting = splitter.split(delivery).boxed().fuse();
        }
    }

    /// Notes what is settled, this and all that is there; the version of a batch that is too new.
    fn settle_all(
        &mut self,
        first: Option<Outcome<HeldDelivery>>,
        outcomes: &mut mpsc::Receiver<Outcome<HeldDelivery>>,
    ) -> Option<u16> {
        let (mut next, mut newer) = (first, None);
        while let Some(outcome) = next {
            match outcome {
                Outcome::Settled(held) => self.unacknowledged.settle(held.tag),
                Outcome::NewerVersion(_, found) => newer = newer.or(Some(found)),
            }
            next = outcomes.try_recv().ok();
        }
        newer
    }
}

fn lost(reason: &str) -> End {
    End::Lost(BrokerError::Closed(reason.into()))
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
