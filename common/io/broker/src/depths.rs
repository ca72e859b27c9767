//! How many messages wait in the queues, followed by asking.

use crate::{Broker, BrokerError, topology};
use ha_resilience::Backoff;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Messages that are ready, which excludes those that consumers hold. A passive declaration counts
/// at this moment; the management plugin's numbers lag by seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depths {
    /// Of `ha.events`.
    pub events: u32,
    /// Consumers of `ha.events`: workers.
    pub consumers: u32,
    /// Of `ha.suspects`.
    pub suspects: u32,
    /// Of `ha.dead-letters`.
    pub dead_letters: u32,
}

/// Asks at this interval. `None` while there is no answer. Ends when nobody receives.
pub async fn follow_depths(
    broker: Arc<Broker>,
    interval: Duration,
    depths: watch::Sender<Option<Depths>>,
) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let following = async {
        loop {
            if let Err(error) = ask(&broker, interval, &depths, &mut backoff).await {
                tracing::debug!(%error, "the depths of the queues are not known");
            }
            depths.send_replace(None);
            tokio::time::sleep(backoff.next_random()).await;
        }
    };
    tokio::select! {
        () = depths.closed() => {}
        () = following => {}
    }
}

async fn ask(
    broker: &Broker,
    interval: Duration,
    depths: &watch::Sender<Option<Depths>>,
    backoff: &mut Backoff,
) -> Result<(), BrokerError> {
    let connection = broker.connection_for_questions().await?;
    let channel = broker.within("a channel", connection.create_channel());
    let channel = channel.await?;
    let mut every = tokio::time::interval(interval);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let depth = async |queue| topology::depth(broker, &channel, queue).await;
        let (events, consumers) =
            topology::counts(broker, &channel, topology::EVENTS_QUEUE).await?;
        let found = Depths {
            events,
            consumers,
            suspects: depth(topology::SUSPECTS_QUEUE).await?,
            dead_letters: depth(topology::DEAD_LETTERS_QUEUE).await?,
        };
        backoff.reset();
        depths.send_replace(Some(found));
    }
}
