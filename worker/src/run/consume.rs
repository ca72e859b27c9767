//! One subscription, from its opening to its end: the task that takes deliveries is the one that
//! acknowledges them.

use crate::run::held::HeldDelivery;
use crate::run::in_flight::InFlight;
use crate::run::settle::{LastAcknowledgements, Unacknowledged};
use crate::run::split::{self, Splitter};
use futures_util::future::{Fuse, FusedFuture, FutureExt};
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
    /// The database was away for so long that everything goes back to the queue.
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
    /// Deliveries are held so long while the database is away; less than the broker's consumer
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

/// Takes deliveries until shutdown or loss. `in_flight` is told how many deliveries are held; batches
/// that keep coming back are given to the `splitter`, where there is one, one at a time.
///
/// However it ends, what is settled by then is acknowledged, unless the channel is lost; the caller
/// closes the subscription.
pub async fn consume(
    subscription: &mut Subscription,
    stages: Stages,
    splitter: Option<&Splitter>,
    mut sink: watch::Receiver<SinkState>,
    shutdown: &CancellationToken,
    limits: Limits,
    in_flight: &InFlight,
) -> End {
    let Stages { work, mut outcomes } = stages;
    // As they came, compressed: memory is bounded by the prefetch and by one that is being split.
    let mut suspects: VecDeque<Delivery> = VecDeque::new();
    let mut splitting = Fuse::terminated();
    let mut sink_away_since: Option<Instant> = None;
    let mut work = Some(work);
    let mut is_written = false;
    let mut unacknowledged = Unacknowledged::default();
    let mut deadline: Option<Instant> = None;
    let mut cancel_at: Option<Instant> = None;
    let mut fill_until: Option<Instant> = None;
    let mut last: Option<LastAcknowledgements> = None;
    let mut changed_matters = true;
    let mut look = tokio::time::interval(Duration::from_secs(1));
    let end = loop {
        in_flight.observe(unacknowledged.len(), unacknowledged.take_acknowledged());
        let full = unacknowledged.len() >= limits.prefetch_messages;
        if let Some(fill_until) = fill_until
            && cancel_at.is_some_and(|at| at <= Instant::now())
            && !full
            && Instant::now() < fill_until
        {
            match subscription.waiting().await {
                Ok(0) => {}
                Ok(_) => cancel_at = Some(Instant::now() + FILL),
                Err(error) => return End::Lost(error),
            }
        }
        if let Some(deadline) = deadline
            && cancel_at.is_some_and(|at| full || at <= Instant::now())
        {
            cancel_at = None;
            match tokio::time::timeout_at(deadline, subscription.cancel()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return End::Lost(error),
                Err(_) => break End::Drained, // or not: see below
            }
            let now = Instant::now();
            last = Some(LastAcknowledgements::over(deadline - now, now));
        }
        let now = Instant::now();
        if cancel_at.is_none()
            && last.as_ref().is_none_or(|last| last.is_due(now))
            && let Some(tag) = unacknowledged.acknowledge_up_to()
        {
            if let Err(error) = subscription.acknowledge(tag, true) {
                return End::Lost(error);
            }
            if let Some(last) = &mut last {
                last.sent(now);
            }
        }
        if splitting.is_terminated()
            && let Some(splitter) = splitter
            && let Some(delivery) = suspects.pop_front()
        {
            splitting = Box::pin(splitter.split(delivery)).fuse();
        }
        if is_written && splitting.is_terminated() {
            break End::Drained;
        }
        tokio::select! {
            delivery = subscription.next(), if work.is_some() => match delivery {
                Some(Ok(delivery)) => {
                    unacknowledged.delivered(delivery.tag);
                    if splitter.is_some() && split::is_suspect(&delivery) {
                        suspects.push_back(delivery);
                        continue;
                    }
                    let replay = ha_dead_letters::replay(&delivery);
                    let ack_handle = HeldDelivery::new(&delivery, splitter.is_some());
                    let item = Work { payload: delivery.payload.into(), replay, ack_handle };
                    // Never waits: the channel is as wide as the prefetch.
                    let Some(work) = &work else { continue };
                    if work.send(item).await.is_err() {
                        return End::Lost(BrokerError::Closed("the pipeline has ended".into()));
                    }
                }
                Some(Err(error)) => return End::Lost(error),
                // Cancelled, and everything that had arrived is taken.
                None if deadline.is_some() => work = None,
                None => return End::Lost(BrokerError::Closed("the broker ended the consumer".into())),
            },
            outcome = outcomes.recv(), if !is_written => {
                if outcome.is_none() && deadline.is_none() {
                    return End::Lost(BrokerError::Closed("the pipeline has ended".into()));
                }
                is_written = outcome.is_none();
                let mut next = outcome;
                let mut newer = None;
                while let Some(outcome) = next {
                    newer = newer.or(settle(&mut unacknowledged, outcome));
                    next = outcomes.try_recv().ok();
                }
                if let Some(found) = newer {
                    break End::NewerVersion(found);
                }
            }
            tag = &mut splitting, if !splitting.is_terminated() => unacknowledged.settle(tag),
            changed = sink.changed(), if changed_matters => {
                changed_matters = changed.is_ok();
                let away = *sink.borrow_and_update() != SinkState::Available;
                sink_away_since = away.then(|| sink_away_since.unwrap_or_else(Instant::now));
            }
            () = passed(sink_away_since.map(|since| since + limits.sink_hold)) => {
                break End::SinkAway;
            }
            () = shutdown.cancelled(), if deadline.is_none() => {
                deadline = Some(Instant::now() + limits.grace);
                cancel_at = Some(Instant::now() + FILL);
                fill_until = Some(Instant::now() + FILL_MAX.min(limits.grace / 2));
            }
            () = passed(cancel_at) => {}
            () = passed(deadline) => break End::Drained, // or not: see below
            _ = look.tick() => if !subscription.is_open() {
                return End::Lost(BrokerError::Closed("the connection was closed".into()));
            },
        }
    };
    while let Ok(outcome) = outcomes.try_recv() {
        settle(&mut unacknowledged, outcome);
    }
    if let Some(tag) = unacknowledged.acknowledge_up_to()
        && let Err(error) = subscription.acknowledge(tag, true)
    {
        return End::Lost(error);
    }
    in_flight.observe(unacknowledged.len(), unacknowledged.take_acknowledged());
    // In time or not, what is held says.
    match (end, unacknowledged.len()) {
        (End::Drained, held @ 1..) => End::GraceOver { held },
        (end, _) => end,
    }
}

/// Notes what is settled; the version of a batch that is too new.
fn settle(unacknowledged: &mut Unacknowledged, outcome: Outcome<HeldDelivery>) -> Option<u16> {
    match outcome {
        Outcome::Settled(held) => {
            unacknowledged.settle(held.tag);
            None
        }
        Outcome::NewerVersion(_, found) => Some(found),
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
