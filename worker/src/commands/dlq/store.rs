//! Both stores of dead letters behind one face: read in order, take, send again, put back.

use super::args::StorePlace;
use super::dead_letter::{DeadLetter, Handle};
use super::limit::{DeliveryLimit, delivery_limit};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use ha_broker::{
    Broker, DeadLetterReader, Header, Outgoing, Publisher, PublisherOptions, PublisherState,
    topology,
};
use ha_pipeline::dead_letter::{HEADER_FIRST_FAILED_AT, HEADER_REPLAYS};
use ha_spool::{ListedDeadLetter, Spool, SpoolBatch, SpoolOptions, StoredDeadLetter};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Dead letters of a spool in memory at one time; a page is 8 MiB at most besides.
const PAGE_DEAD_LETTERS: usize = 256;

/// RabbitMQ 4 drops a message at the 21st delivery where no policy says otherwise. Where that
/// cannot be found out, a dead letter that was delivered so often is left alone, with room for a few
/// more looks by somebody else.
const DELIVERIES_MAX: u64 = 15;

/// How long the first connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The dead letters, opened.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum Store {
    Broker(BrokerStore),
    Spool(SpoolStore),
}

#[derive(Debug)]
pub(crate) struct BrokerStore {
    broker: Arc<Broker>,
    reader: DeadLetterReader,
    limit: DeliveryLimit,
}

#[derive(Debug)]
pub(crate) struct SpoolStore {
    spool: Spool,
    bytes_max: u64,
    page: VecDeque<ListedDeadLetter>,
    position: i64,
}

impl Store {
    /// Opens the dead letters. A spool that a running producer has open is refused.
    pub async fn open(place: &StorePlace) -> anyhow::Result<Self> {
        match place {
            StorePlace::Broker {
                url,
                management,
                tls,
            } => {
                let name = format!("ha-ingestor dlq {}", std::process::id());
                let broker = ha_settings::broker(url.clone(), name, tls)?;
                let limit = delivery_limit(url, management.as_ref(), tls).await?;
                let reader = DeadLetterReader::open(Arc::clone(&broker)).await?;
                Ok(Self::Broker(BrokerStore {
                    broker,
                    reader,
                    limit,
                }))
            }
            StorePlace::Spool { path, bytes_max } => {
                let options = SpoolOptions::new(path.clone(), *bytes_max);
                let spool = Spool::open_existing(options).await?.spool;
                let (page, position) = (VecDeque::new(), 0);
                Ok(Self::Spool(SpoolStore {
                    spool,
                    bytes_max: *bytes_max,
                    page,
                    position,
                }))
            }
        }
    }

    /// Dead letters there are now.
    pub async fn depth(&self) -> anyhow::Result<u64> {
        Ok(match self {
            Self::Broker(store) => u64::from(store.reader.depth().await?),
            Self::Spool(store) => store.spool.stats().dead_letters,
        })
    }

    /// Batches that wait for a worker.
    pub async fn waiting_batches(&self) -> anyhow::Result<u64> {
        Ok(match self {
            Self::Broker(store) => u64::from(store.reader.waiting_batches().await?),
            Self::Spool(store) => store.spool.stats().batches,
        })
    }

    /// The next dead letter, oldest first; `None` at the end. Not cancel safe: a dead letter on its way
    /// would be skipped.
    pub async fn next(&mut self) -> anyhow::Result<Option<DeadLetter>> {
        match self {
            Self::Broker(store) => {
                let Some(delivery) = store.reader.next().await? else {
                    return Ok(None);
                };
                let count = delivery.delivery_count;
                ensure!(
                    store.limit == DeliveryLimit::None || count < DELIVERIES_MAX,
                    "a dead letter was looked at {count} times, and this RabbitMQ may drop it after 20: \
                     it was left in the queue. Set the policy delivery-limit = -1 on \
                     {} (deploy/rabbitmq has it), and RABBITMQ_MANAGEMENT_URL so that it can be \
                     checked",
                    topology::DEAD_LETTERS_QUEUE
                );
                Ok(Some(DeadLetter::of_delivery(delivery)))
            }
            Self::Spool(store) => {
                if store.page.is_empty() {
                    let page = store
                        .spool
                        .list_dead_letters(store.position, PAGE_DEAD_LETTERS)
                        .await?;
                    store.position = page.last().map_or(store.position, |last| last.position);
                    store.page = page.into();
                }
                Ok(store
                    .page
                    .pop_front()
                    .map(|listed| DeadLetter::of_spool(listed.dead_letter)))
            }
        }
    }

    /// Takes a dead letter out for good.
    pub async fn take(&mut self, handle: Handle) -> anyhow::Result<()> {
        match (self, handle) {
            (Self::Broker(store), Handle::Tag(tag)) => Ok(store.reader.take(tag).await?),
            (Self::Spool(store), Handle::Id(id)) => {
                store.spool.take_dead_letters(vec![id]).await?;
                Ok(())
            }
            _ => bail!("a dead letter of another store"),
        }
    }

    /// The way back into the stream, and into this store.
    pub async fn sender(&self) -> anyhow::Result<Sender> {
        match self {
            Self::Broker(store) => {
                let publisher =
                    Publisher::start(Arc::clone(&store.broker), PublisherOptions::default());
                let mut state = publisher.state();
                let ready = state.wait_for(|state| *state != PublisherState::Connecting);
                let state = tokio::time::timeout(CONNECT_TIMEOUT, ready)
                    .await
                    .context("no connection to publish on")??;
                if let PublisherState::Failed(reason) = &*state {
                    bail!("cannot publish: {reason}");
                }
                drop(state);
                Ok(Sender::Broker(publisher))
            }
            Self::Spool(store) => Ok(Sender::Spool {
                spool: store.spool.clone(),
                bytes_max: store.bytes_max,
            }),
        }
    }

    /// Gives back what was not taken.
    pub async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Broker(store) => store.reader.close().await?,
            Self::Spool(store) => store.spool.close().await,
        }
        Ok(())
    }
}

/// Sends dead letters, several at a time.
#[derive(Debug, Clone)]
pub(crate) enum Sender {
    Broker(Publisher),
    Spool { spool: Spool, bytes_max: u64 },
}

impl Sender {
    /// Whether the dead letters are only queued for a producer that does not run.
    pub fn waits_for_producer(&self) -> bool {
        matches!(self, Self::Spool { .. })
    }

    /// Sends a dead letter's batch on its way again; returns when that is safe.
    pub async fn replay(&self, dead_letter: &DeadLetter) -> anyhow::Result<()> {
        match self {
            Self::Broker(publisher) => {
                let replay = dead_letter.next_replay();
                let mut headers = vec![
                    (
                        HEADER_REPLAYS.to_owned(),
                        Header::Number(replay.count.into()),
                    ),
                    (
                        HEADER_FIRST_FAILED_AT.to_owned(),
                        Header::Number(replay.first_failed_at_ns),
                    ),
                ];
                if !dead_letter.events.is_empty() {
                    let count = i64::try_from(dead_letter.events.len()).unwrap_or(i64::MAX);
                    headers.push((ha_batch::HEADER_COUNT.to_owned(), Header::Number(count)));
                    let version = Header::Number(ha_batch::VERSION.into());
                    headers.push((ha_batch::HEADER_VERSION.to_owned(), version));
                }
                let trace = dead_letter
                    .headers
                    .iter()
                    .find(|(name, _)| name == "traceparent");
                headers
                    .extend(trace.map(|(name, value)| (name.clone(), Header::Text(value.clone()))));
                publisher
                    .publish(Outgoing {
                        exchange: topology::EVENTS_EXCHANGE,
                        routing_key: dead_letter.instance.clone(),
                        payload: dead_letter.payload.clone(),
                        content_type: ha_batch::CONTENT_TYPE,
                        headers,
                    })
                    .await?;
                Ok(())
            }
            Self::Spool { spool, bytes_max } => {
                let mut batch = ha_batch::decode(&dead_letter.payload)?;
                batch.replay = Some(dead_letter.next_replay());
                let mut payload = Vec::with_capacity(dead_letter.payload.len() + 64);
                ha_batch::encode(&batch, &mut payload)?;
                // Appending to a full spool would drop its oldest batches.
                let bytes = spool
                    .stats()
                    .bytes
                    .saturating_add(payload.len() as u64 + 4_096);
                ensure!(
                    bytes < *bytes_max,
                    "the spool is full: let a producer drain it first"
                );
                spool
                    .append(SpoolBatch {
                        payload: payload.into(),
                        events: u32::try_from(dead_letter.events.len()).unwrap_or(u32::MAX),
                        oldest_ns: dead_letter
                            .events
                            .iter()
                            .map(|event| event.source_time_ns)
                            .min()
                            .unwrap_or(0),
                        written_direct: false,
                    })
                    .await?;
                Ok(())
            }
        }
    }

    /// Puts a dead letter into the store (again); returns when it is safe there.
    pub async fn put(
        &self,
        id: &str,
        headers: Vec<(String, String)>,
        payload: Bytes,
    ) -> anyhow::Result<()> {
        match self {
            Self::Broker(publisher) => {
                publisher
                    .publish(ha_dead_letters::dead_letter_message(headers, payload))
                    .await?;
            }
            Self::Spool { spool, .. } => {
                let failed_at_ns = DeadLetter::failed_at_of(&headers);
                // The same dead letter restored twice is one.
                let id = Uuid::try_parse(id).unwrap_or_else(|_| {
                    let hash = u64::from_str_radix(id, 16).unwrap_or_default();
                    Uuid::from_u64_pair(hash, hash)
                });
                let dead_letter = StoredDeadLetter {
                    id: *id.as_bytes(),
                    headers,
                    payload,
                    failed_at_ns,
                };
                spool.put_dead_letters(vec![dead_letter]).await?;
            }
        }
        Ok(())
    }
}
