//! One subscription, from its opening to its end: the task that takes deliveries is the one that
//! acknowledges them.

use crate::settle::Unacknowledged;
use ha_broker::{BrokerError, Subscription};
use ha_pipeline::{Outcome, Work};
use metrics::Gauge;
use tokio::sync::mpsc;
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
    /// The broker closed, or was lost.
    Lost(BrokerError),
    /// A frame of a newer version: everything goes back to the queue, for a newer worker.
    NewerVersion(u16),
}

/// The pipeline's two ends.
pub struct Stages {
    /// Frames go in.
    pub work: mpsc::Sender<Work<u64>>,
    /// Tags come out.
    pub outcomes: mpsc::Receiver<Outcome<u64>>,
}

/// Takes deliveries until shutdown or loss. `in_flight` is the gauge of deliveries held.
pub async fn consume(
    subscription: &mut Subscription,
    stages: Stages,
    shutdown: &CancellationToken,
    grace: std::time::Duration,
    in_flight: &Gauge,
) -> End {
    let Stages { work, mut outcomes } = stages;
    let mut work = Some(work);
    let mut unacknowledged = Unacknowledged::default();
    let mut deadline: Option<Instant> = None;
    let mut look = tokio::time::interval(std::time::Duration::from_millis(500));
    loop {
        in_flight.set(unacknowledged.len() as f64);
        tokio::select! {
            delivery = subscription.next(), if work.is_some() => match delivery {
                Some(Ok(delivery)) => {
                    unacknowledged.delivered(delivery.tag);
                    let item = Work { payload: delivery.payload.into(), ticket: delivery.tag };
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
            outcome = outcomes.recv() => {
                let Some(outcome) = outcome else {
                    return if unacknowledged.len() == 0 {
                        End::Drained
                    } else {
                        End::GraceOver { held: unacknowledged.len() }
                    };
                };
                let mut next = Some(outcome);
                while let Some(outcome) = next {
                    match outcome {
                        Outcome::Settled(tag) => unacknowledged.settle(tag),
                        Outcome::NewerVersion(_, found) => return End::NewerVersion(found),
                    }
                    next = outcomes.try_recv().ok();
                }
                if let Some(tag) = unacknowledged.acknowledge_up_to() {
                    if let Err(error) = subscription.acknowledge(tag, true).await {
                        return End::Lost(error);
                    }
                }
            }
            () = shutdown.cancelled(), if deadline.is_none() => {
                deadline = Some(Instant::now() + grace);
                if let Err(error) = subscription.cancel().await {
                    return End::Lost(error);
                }
            }
            () = passed(deadline) => return End::GraceOver { held: unacknowledged.len() },
            _ = look.tick() => if !subscription.is_open() {
                return End::Lost(BrokerError::Closed("the connection was closed".into()));
            },
        }
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
