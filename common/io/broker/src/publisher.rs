//! Publishing with confirms: one task holds one connection and one channel in confirm mode, keeps
//! a bounded window of unconfirmed messages, and says of every message whether the broker has it.

mod not_delivered;
mod verdicts;

pub use not_delivered::NotDelivered;

use crate::connector::{CALL_TIMEOUT, PublishingConnection};
use crate::{Broker, BrokerError, Outgoing, topology};
use futures_util::stream::{FuturesUnordered, StreamExt};
use ha_resilience::Backoff;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, PublisherConfirm};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verdicts::{Answer, Confirmed, Verdicts, answer_with};

/// How the publisher works.
#[derive(Debug, Clone)]
pub struct PublisherOptions {
    /// Messages without a confirm at one time.
    pub window_messages: usize,
    /// A message counts as not delivered when its confirm takes longer than this.
    pub confirm_timeout: Duration,
    /// Reconnecting waits between this, with full jitter …
    pub backoff_min: Duration,
    /// The longest such delay.
    pub backoff_max: Duration,
    /// Batches of at least this many bytes travel compressed ([`ha_batch::compress`]); `None`: none do.
    pub compress_bytes_min: Option<usize>,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            window_messages: 1_000,
            confirm_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(10),
            compress_bytes_min: None,
        }
    }
}

/// What the publisher's connection is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublisherState {
    /// Not yet connected.
    Connecting,
    /// Connected, topology checked.
    Connected,
    /// The last attempt failed, in its words.
    Failed(String),
}

/// A handle to the publishing task. The task ends when every handle is gone.
#[derive(Debug, Clone)]
pub struct Publisher {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<PublisherState>,
}

#[derive(Debug)]
struct Request {
    message: Outgoing,
    answer: oneshot::Sender<Result<(), NotDelivered>>,
}

impl Publisher {
    /// Starts the task.
    #[must_use]
    pub fn start(broker: Arc<Broker>, options: PublisherOptions) -> Self {
        let (requests, incoming) = mpsc::channel(options.window_messages);
        let (state_sender, state) = watch::channel(PublisherState::Connecting);
        tokio::spawn(run(broker, options, incoming, state_sender));
        Self { requests, state }
    }

    /// Publishes one message, persistent and mandatory, and waits until the broker has it.
    ///
    /// # Errors
    /// [`NotDelivered`]
    pub async fn publish(&self, message: Outgoing) -> Result<(), NotDelivered> {
        let (answer, answered) = oneshot::channel();
        let request = Request { message, answer };
        self.requests
            .send(request)
            .await
            .map_err(|_| NotDelivered::Disconnected)?;
        answered.await.unwrap_or(Err(NotDelivered::Lost))
    }

    /// Publishes until the broker has it, waiting between attempts; ends early only when `stop`
    /// is cancelled.
    ///
    /// # Errors
    /// The last reason, after `stop`.
    pub async fn publish_until_delivered(
        &self,
        message: Outgoing,
        stop: &CancellationToken,
    ) -> Result<(), NotDelivered> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let Err(reason) = self.publish(message.clone()).await else {
                return Ok(());
            };
            tokio::select! {
                () = stop.cancelled() => return Err(reason),
                () = tokio::time::sleep(backoff.next_random()) => {}
            }
        }
    }

    /// The state of the connection, to watch.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<PublisherState> {
        self.state.clone()
    }
}

async fn run(
    broker: Arc<Broker>,
    options: PublisherOptions,
    mut incoming: mpsc::Receiver<Request>,
    state: watch::Sender<PublisherState>,
) {
    let mut backoff = Backoff::new(options.backoff_min, options.backoff_max);
    loop {
        match open(&broker, &mut incoming).await {
            Opening::Ready(opened) => {
                let (connection, channel) = *opened;
                tracing::info!(broker = broker.address(), "publishing to the broker");
                state.send_replace(PublisherState::Connected);
                let end = serve(&connection, &channel, &options, &mut incoming).await;
                match end {
                    End::HandlesGone => {
                        let _ =
                            tokio::time::timeout(CALL_TIMEOUT, channel.close(200, "bye".into()))
                                .await;
                        let _ =
                            tokio::time::timeout(CALL_TIMEOUT, connection.close(200, "bye".into()))
                                .await;
                        return;
                    }
                    End::Broken(reason) => {
                        tracing::warn!(broker = broker.address(), reason, "publishing stopped");
                        state.send_replace(PublisherState::Failed(reason));
                        connection.discard();
                        backoff.reset();
                    }
                }
            }
            Opening::Failed(error) => {
                // Said once a reason, not once an attempt.
                let reason = error.to_string();
                if *state.borrow() != PublisherState::Failed(reason.clone()) {
                    tracing::warn!(reason, "cannot publish; trying again for ever");
                }
                state.send_replace(PublisherState::Failed(reason));
            }
            Opening::HandlesGone => return,
        }
        let pause = tokio::time::sleep(backoff.next_random());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                request = incoming.recv() => match request {
                    Some(request) => refuse(request, NotDelivered::Disconnected),
                    None => return,
                },
            }
        }
    }
}

enum Opening {
    Ready(Box<(PublishingConnection, Channel)>),
    Failed(BrokerError),
    HandlesGone,
}

enum End {
    HandlesGone,
    Broken(String),
}

/// Opens connection and channel; requests that arrive meanwhile are answered, not kept waiting.
async fn open(broker: &Broker, incoming: &mut mpsc::Receiver<Request>) -> Opening {
    let opening = async {
        let connection = broker.publishing_connection().await?;
        topology::ensure(broker, &connection).await?;
        let channel = broker
            .within("channel.open", connection.create_channel())
            .await?;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        broker.within("confirm.select", select).await?;
        Ok((connection, channel))
    };
    tokio::pin!(opening);
    loop {
        tokio::select! {
            opened = &mut opening => return match opened {
                Ok(opened) => Opening::Ready(Box::new(opened)),
                Err(error) => Opening::Failed(error),
            },
            request = incoming.recv() => match request {
                Some(request) => refuse(request, NotDelivered::Disconnected),
                None => return Opening::HandlesGone,
            },
        }
    }
}

async fn serve(
    connection: &PublishingConnection,
    channel: &Channel,
    options: &PublisherOptions,
    incoming: &mut mpsc::Receiver<Request>,
) -> End {
    let mut unconfirmed = FuturesUnordered::new();
    let mut verdicts = Verdicts::default();
    let mut handles_gone = false;
    // A publish tells at once, and connections that die without a word are noticed by the heartbeat;
    // this only looks while nothing is published. Seldom: it wakes an idle process.
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        if handles_gone && unconfirmed.is_empty() {
            return End::HandlesGone;
        }
        let room = unconfirmed.len() < options.window_messages && !verdicts.is_waiting();
        tokio::select! {
            Some(first) = unconfirmed.next(), if !unconfirmed.is_empty() => {
                let broken = verdicts.confirmed(first, &mut unconfirmed);
                if let Some(reason) = broken {
                    // Dropping the rest tells every waiting publisher that its message was lost.
                    return End::Broken(reason);
                }
            }
            request = incoming.recv(), if !handles_gone && room => {
                let Some(request) = request else { handles_gone = true; continue };
                if connection.status().blocked() {
                    refuse(request, NotDelivered::Blocked);
                    continue;
                }
                let id = Uuid::now_v7();
                match publish(channel, &request.message, options.compress_bytes_min, id).await {
                    Ok(confirm) => {
                        let limit = options.confirm_timeout;
                        unconfirmed.push(wait_for_confirm(id, request.answer, confirm, limit));
                    }
                    Err(reason) => {
                        refuse(request, NotDelivered::Lost);
                        // The broker's own words stand in the confirm of what it closed for.
                        let words = verdicts.settle_all(&mut unconfirmed);
                        return End::Broken(words.unwrap_or(reason));
                    }
                }
            }
            _ = look.tick() => {
                if !connection.status().connected() || !channel.status().connected() {
                    let words = verdicts.settle_all(&mut unconfirmed);
                    return End::Broken(words.unwrap_or_else(|| "the connection was closed".into()));
                }
            }
        }
    }
}

async fn wait_for_confirm(
    id: Uuid,
    answer: Answer,
    confirm: PublisherConfirm,
    limit: Duration,
) -> Confirmed {
    (id, answer, tokio::time::timeout(limit, confirm).await.ok())
}

async fn publish(
    channel: &Channel,
    message: &Outgoing,
    compress_bytes_min: Option<usize>,
    id: Uuid,
) -> Result<PublisherConfirm, String> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let key = lapin::types::ShortString::try_new(message.routing_key.as_str())
        .map_err(|_| "a routing key of more than 255 bytes".to_owned())?;
    let properties = message.properties(id);
    let compress_bytes_min =
        compress_bytes_min.filter(|_| message.exchange == topology::EVENTS_EXCHANGE);
    let compressed = ha_batch::compressed_from(compress_bytes_min, &message.payload);
    let (body, properties) = match &compressed {
        Some(compressed) => {
            let properties = properties.with_content_encoding(ha_batch::ZSTD.into());
            (compressed.as_slice(), properties)
        }
        None => (message.payload.as_ref(), properties),
    };
    let sending = channel.basic_publish(message.exchange.into(), key, options, body, properties);
    match tokio::time::timeout(CALL_TIMEOUT, sending).await {
        Ok(Ok(confirm)) => Ok(confirm),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the broker takes no more bytes".into()),
    }
}

fn refuse(request: Request, reason: NotDelivered) {
    answer_with(request.answer, Err(reason));
}
