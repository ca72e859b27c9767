//! What the broker says of its queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ha_broker::{Broker, BrokerError, topology};
use ha_settings::TlsSettings;
use lapin::options::BasicGetOptions;
use serde_json::Value;
use tokio::task::JoinHandle;
use url::Url;

const DEPTH_INTERVAL: Duration = Duration::from_millis(500);
/// A count that has not moved for this long is final. A quorum queue counts itself, and sends its
/// dead letters on, a moment after the fact.
const STABLE_FOR: Duration = Duration::from_secs(2);
const STABLE_WAIT_MAX: Duration = Duration::from_secs(30);
/// RabbitMQ's management lags up to 5 s behind a quorum queue.
const STATISTICS_STABLE_FOR: Duration = Duration::from_secs(6);
const STATISTICS_INTERVAL: Duration = Duration::from_millis(200);

/// RabbitMQ's management API.
#[derive(Debug, Clone)]
pub(crate) struct Management {
    pub(crate) url: Url,
    pub(crate) user: String,
    pub(crate) password: String,
    /// As in the AMQP URL, percent-encoded.
    pub(crate) vhost: String,
}

/// The broker's counts of the queue of batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Deliveries {
    published: u64,
    acknowledged: u64,
    /// In the queue.
    messages: u64,
    /// With the mark "redelivered".
    pub(crate) redelivered: u64,
    /// Looks into the empty queue.
    found_empty: u64,
}

impl Deliveries {
    fn since(self, before: Self) -> Self {
        Self {
            // What lay there before was published, too; what lies there now is yet to be delivered.
            published: (self.published + before.messages)
                .saturating_sub(before.published + self.messages),
            acknowledged: self.acknowledged.saturating_sub(before.acknowledged),
            messages: self.messages,
            redelivered: self.redelivered.saturating_sub(before.redelivered),
            found_empty: self.found_empty.saturating_sub(before.found_empty),
        }
    }

    /// Batches that came again although they were settled: acknowledgements above one a batch, but no
    /// more than batches that came again at all. Neither count tells by itself: a quorum queue marks a
    /// batch, too, that was on its way to a consumer when it cancelled, and that no client ever saw
    /// (rabbitmq-server#3729); and what a closed channel published may never be counted. A second
    /// acknowledgement and the mark of its delivery are counted together.
    pub(crate) fn redelivered_settled(self) -> u64 {
        let second = self.acknowledged.saturating_sub(self.published);
        second.min(self.redelivered)
    }
}

/// The depth of the queues, for other tasks to read.
#[derive(Debug, Clone)]
pub struct Depth {
    broker: Arc<Broker>,
    depth: Arc<AtomicU64>,
}

impl Depth {
    /// Batches that wait for a worker.
    pub fn now(&self) -> u64 {
        self.depth.load(Ordering::Relaxed)
    }

    /// Dead letters; 0 while the broker does not say.
    pub async fn dead_letters(&self) -> u64 {
        messages(&self.broker, topology::DEAD_LETTERS_QUEUE)
            .await
            .unwrap_or_default()
    }
}

/// Watches the queue of batches until it is dropped.
#[derive(Debug)]
pub struct Queues {
    broker: Arc<Broker>,
    management: Option<Management>,
    depth: Arc<AtomicU64>,
    depth_max: Arc<AtomicU64>,
    /// Dead letters that others left there.
    dead_letters_before: u64,
    /// The counts of deliveries before the run.
    deliveries_before: Deliveries,
    watching: JoinHandle<()>,
}

impl Queues {
    pub(crate) async fn watch(
        amqp_url: Url,
        management: Option<Management>,
        tls: &TlsSettings,
        client: &reqwest::Client,
    ) -> anyhow::Result<Self> {
        let broker = ha_settings::broker(amqp_url, "ha-ingestor loadtest".to_owned(), tls)?;
        // Before the producer has started, the queue may not have been declared yet.
        let dead_letters_before = messages(&broker, topology::DEAD_LETTERS_QUEUE)
            .await
            .unwrap_or_default();
        let deliveries_before = match &management {
            Some(management) => management.deliveries(client).await.unwrap_or_default(),
            None => Deliveries::default(),
        };
        let (depth, depth_max): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let watching = tokio::spawn(follow_depth(
            Arc::clone(&broker),
            Arc::clone(&depth),
            Arc::clone(&depth_max),
        ));
        Ok(Self {
            broker,
            management,
            depth,
            depth_max,
            dead_letters_before,
            deliveries_before,
            watching,
        })
    }

    /// Batches that wait for a worker.
    pub fn depth(&self) -> u64 {
        self.depth.load(Ordering::Relaxed)
    }

    /// The depth of the queue, for another task.
    pub fn watched(&self) -> Depth {
        Depth {
            broker: Arc::clone(&self.broker),
            depth: Arc::clone(&self.depth),
        }
    }

    /// A connection to the same broker.
    pub fn broker(&self) -> Arc<Broker> {
        Arc::clone(&self.broker)
    }

    /// The most batches that were seen waiting.
    pub fn depth_max(&self) -> u64 {
        self.depth_max.load(Ordering::Relaxed)
    }

    /// Messages that this run added to the dead letters, once their number has settled.
    pub(crate) async fn dead_lettered(&self) -> anyhow::Result<u64> {
        let read = || messages(&self.broker, topology::DEAD_LETTERS_QUEUE);
        let dead_letters = stable(STABLE_FOR, read).await?;
        Ok(dead_letters.saturating_sub(self.dead_letters_before))
    }

    /// What the broker counted of the queue of batches, once it has settled; `None` without a
    /// management API.
    pub(crate) async fn deliveries(
        &self,
        client: &reqwest::Client,
    ) -> anyhow::Result<Option<Deliveries>> {
        let Some(management) = &self.management else {
            return Ok(None);
        };
        if let Some(now) = self.deliveries_after_a_look(management, client).await?
            && now.redelivered_settled() == 0
        {
            return Ok(Some(now));
        }
        let read = || management.deliveries(client);
        let now = stable(STATISTICS_STABLE_FOR, read).await?;
        Ok(Some(now.since(self.deliveries_before)))
    }

    /// The deliveries as soon as no acknowledgement can be missing: the broker counts a look into the
    /// empty queue beside acknowledgements, and where it tells of the look, it tells of all that
    /// were before it. What was published may still be short, so that they can be too many, and
    /// never too few. `None` if the queue is not empty, or the broker does not tell.
    async fn deliveries_after_a_look(
        &self,
        management: &Management,
        client: &reqwest::Client,
    ) -> anyhow::Result<Option<Deliveries>> {
        let queue = topology::EVENTS_QUEUE;
        let before = management.deliveries(client).await?;
        // Open until the end: the counts of a closed channel may be gone before they were read.
        let connection = self.broker.connect().await?;
        let channel = connection.create_channel().await?;
        if topology::depth(&self.broker, &channel, queue).await? > 0 {
            return Ok(None);
        }
        let options = BasicGetOptions { no_ack: false };
        let found = channel.basic_get(queue.into(), options).await?;
        let deadline = Instant::now() + STATISTICS_STABLE_FOR;
        let mut told = None;
        while found.is_none() && told.is_none() && Instant::now() < deadline {
            tokio::time::sleep(STATISTICS_INTERVAL).await;
            let now = management.deliveries(client).await?;
            told = (now.found_empty > before.found_empty).then_some(now);
        }
        // With it goes back what a look has found after all.
        let _ = connection.close(200, "done".into()).await;
        Ok(told.map(|now| now.since(self.deliveries_before)))
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Management {
    async fn deliveries(&self, client: &reqwest::Client) -> anyhow::Result<Deliveries> {
        let base = self.url.as_str().trim_end_matches('/');
        let url = format!(
            "{base}/api/queues/{}/{}",
            self.vhost,
            topology::EVENTS_QUEUE
        );
        let request = client
            .get(&url)
            .basic_auth(&self.user, Some(&self.password));
        let response = request.send().await?.error_for_status()?;
        let body = response.bytes().await?;
        let queue: Value = serde_json::from_slice(&body)
            .with_context(|| format!("{url} does not answer with JSON"))?;
        // A count that is not there has not happened.
        let count = |path: &str| queue.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        Ok(Deliveries {
            published: count("/message_stats/publish"),
            acknowledged: count("/message_stats/ack"),
            messages: count("/messages"),
            redelivered: count("/message_stats/redeliver"),
            found_empty: count("/message_stats/get_empty"),
        })
    }
}

async fn messages(broker: &Broker, queue: &str) -> anyhow::Result<u64> {
    let connection = broker.connect().await?;
    let channel = connection.create_channel().await?;
    let depth = topology::depth(broker, &channel, queue).await?;
    let _ = connection.close(200, "done".into()).await;
    Ok(u64::from(depth))
}

/// The value, once it has not changed for `stable_for`.
async fn stable<T, F>(stable_for: Duration, read: impl Fn() -> F) -> anyhow::Result<T>
where
    T: PartialEq,
    F: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + STABLE_WAIT_MAX;
    let (mut value, mut since) = (read().await?, Instant::now());
    while since.elapsed() < stable_for && Instant::now() < deadline {
        tokio::time::sleep(DEPTH_INTERVAL).await;
        let next = read().await?;
        if next != value {
            (value, since) = (next, Instant::now());
        }
    }
    Ok(value)
}

async fn follow_depth(broker: Arc<Broker>, depth: Arc<AtomicU64>, depth_max: Arc<AtomicU64>) {
    loop {
        // Away, or the queue is not declared yet: there is nothing to see for now.
        let _ = follow_depth_once(&broker, &depth, &depth_max).await;
        tokio::time::sleep(DEPTH_INTERVAL).await;
    }
}

async fn follow_depth_once(
    broker: &Broker,
    depth: &AtomicU64,
    depth_max: &AtomicU64,
) -> Result<(), BrokerError> {
    let connection = broker.connect().await?;
    let Ok(channel) = connection.create_channel().await else {
        return Ok(());
    };
    loop {
        let messages = topology::depth(broker, &channel, topology::EVENTS_QUEUE).await?;
        depth.store(u64::from(messages), Ordering::Relaxed);
        depth_max.fetch_max(u64::from(messages), Ordering::Relaxed);
        tokio::time::sleep(DEPTH_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::Deliveries;

    #[test]
    fn only_a_second_acknowledgement_tells_of_a_settled_batch() {
        let before = Deliveries {
            published: 100,
            acknowledged: 90,
            messages: 10,
            redelivered: 4,
            found_empty: 0,
        };
        let marked = Deliveries {
            published: 300,
            acknowledged: 298,
            messages: 2,
            redelivered: 7,
            found_empty: 1,
        };
        let since = marked.since(before);
        assert_eq!((since.redelivered, since.redelivered_settled()), (3, 0));
        let again = Deliveries {
            acknowledged: 299,
            ..marked
        };
        assert_eq!(again.since(before).redelivered_settled(), 1);
        let uncounted = Deliveries {
            published: 280,
            redelivered: 4,
            ..marked
        };
        assert_eq!(uncounted.since(before).redelivered_settled(), 0);
    }
}
