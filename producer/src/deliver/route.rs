//! The route: the broker in `queue`; the workers' intakes in `service`; the pipeline and its sink in
//! `inline` and `disabled`.

use crate::deliver::encoded::EncodedBatch;
use ha_broker::{ClaimState, Header, NotDelivered, Outgoing, Publisher, topology};
use ha_dead_letters::DeadLetterPlace;
use ha_http::{IntakeClient, IntakeError};
use ha_pipeline::{AckHandle, Outcome, Pipeline, SinkState, Work};
use ha_resilience::Failure;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Why the route does not have a batch.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The broker's reason.
    #[error(transparent)]
    Broker(#[from] NotDelivered),
    /// Another producer of this home is active, or it is not known yet whether one is.
    #[error("another producer of this home is active, or may be")]
    NotActive,
    /// The workers' reason.
    #[error(transparent)]
    Service(#[from] IntakeError),
    /// The database is away; the pipeline itself finds out when it is back.
    #[error("the database takes no writes: {0}")]
    SinkAway(String),
    /// No answer in time.
    #[error("not stored within {} s", OFFER_TIMEOUT.as_secs())]
    Timeout,
    /// The pipeline has ended.
    #[error("the pipeline has ended")]
    PipelineEnded,
}

/// The same as the broker's confirm timeout.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);

impl RouteError {
    /// What the breaker makes of it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Broker(NotDelivered::Nack | NotDelivered::Returned | NotDelivered::Timeout)
            | Self::Timeout
            | Self::Service(IntakeError::Unavailable(_) | IntakeError::Rejected(_)) => {
                Failure::Counted
            }
            Self::Service(IntakeError::RetryAfter { after, .. }) => Failure::RetryAfter(*after),
            _ => Failure::Immediate,
        }
    }

    /// Whether the same route may take other batches anyway.
    #[must_use]
    pub fn is_about_the_batch(&self) -> bool {
        matches!(
            self,
            Self::Broker(NotDelivered::Nack | NotDelivered::Returned)
                | Self::Service(IntakeError::Rejected(_))
        )
    }
}

/// Where batches go.
#[derive(Debug)]
pub enum Route {
    /// To the workers.
    Broker {
        /// The publishing task.
        publisher: Publisher,
        /// The instance: copies of one home's stream can be bound by it.
        routing_key: String,
        /// Whether this producer is the active one; an import is beside the question.
        claim: Option<watch::Receiver<ClaimState>>,
    },
    /// To the workers, over HTTP; confirmed when it is stored.
    Service(IntakeClient),
    /// Through the stages in this process.
    Pipeline(PipelineHandle),
}

/// A batch in the pipeline, whose sender waits.
#[derive(Debug)]
struct Offered {
    settled: oneshot::Sender<()>,
    is_first_offer: bool,
    trace: ha_trace::Context,
}

impl AckHandle for Offered {
    fn is_first_pass(&self) -> bool {
        self.is_first_offer
    }

    fn trace(&self) -> Option<&ha_trace::Context> {
        Some(&self.trace)
    }
}

/// The sending end of a running pipeline.
#[derive(Debug)]
pub struct PipelineHandle {
    work: mpsc::Sender<Work<Offered>>,
    sink: watch::Receiver<SinkState>,
}

impl PipelineHandle {
    /// Starts the pipeline. It ends when the handle is dropped and everything is settled.
    #[must_use]
    pub fn start(pipeline: Arc<Pipeline<DeadLetterPlace>>, batches_max: usize) -> Self {
        let (work, input) = mpsc::channel(batches_max);
        let (output, mut outcomes) = mpsc::channel::<Outcome<Offered>>(batches_max);
        let sink = pipeline.sink_state();
        tokio::spawn(async move { pipeline.run(input, output).await });
        tokio::spawn(async move {
            while let Some(outcome) = outcomes.recv().await {
                match outcome {
                    // The batcher may have given up at the end of the grace.
                    Outcome::Settled(offered) => drop(offered.settled.send(())),
                    Outcome::NewerVersion(_, found) => {
                        tracing::error!(found, "a batch of a newer version in this process");
                    }
                }
            }
        });
        Self { work, sink }
    }

    /// Offers one batch. While the database is away nothing new goes in: what is inside already
    /// is being tried again, and is what finds out when the database is back.
    async fn store(&self, batch: &EncodedBatch) -> Result<(), RouteError> {
        let mut sink = self.sink.clone();
        if let Some(away) = away(&sink.borrow_and_update()) {
            return Err(away);
        }
        let (sender, settled) = oneshot::channel();
        let ack_handle = Offered {
            settled: sender,
            is_first_offer: batch.is_first_offer,
            trace: batch.trace.clone(),
        };
        let work = Work {
            payload: batch.payload.clone(),
            replay: None,
            ack_handle,
        };
        let stored = async {
            self.work
                .send(work)
                .await
                .map_err(|_| RouteError::PipelineEnded)?;
            settled.await.map_err(|_| RouteError::PipelineEnded)
        };
        let gone = async {
            loop {
                if sink.changed().await.is_err() {
                    return RouteError::PipelineEnded;
                }
                if let Some(away) = away(&sink.borrow_and_update()) {
                    return away;
                }
            }
        };
        tokio::select! {
            biased;
            stored = stored => stored,
            gone = gone => Err(gone),
            () = tokio::time::sleep(OFFER_TIMEOUT) => Err(RouteError::Timeout),
        }
    }
}

fn away(state: &SinkState) -> Option<RouteError> {
    match state {
        SinkState::Available => None,
        SinkState::Unavailable(reason) | SinkState::Refused(reason) => {
            Some(RouteError::SinkAway(reason.clone()))
        }
    }
}

impl Route {
    /// Offers a batch once. Delivered means confirmed by the broker, or stored by the sink, by a
    /// worker's word or our own.
    ///
    /// # Errors
    /// [`RouteError`]
    pub async fn offer(&self, batch: &EncodedBatch) -> Result<(), RouteError> {
        match self {
            Self::Broker {
                publisher,
                routing_key,
                claim,
            } => {
                if claim
                    .as_ref()
                    .is_some_and(|claim| !claim.borrow().permits())
                {
                    return Err(RouteError::NotActive);
                }
                let mut headers = vec![
                    (
                        ha_batch::HEADER_VERSION.into(),
                        Header::Number(ha_batch::VERSION.into()),
                    ),
                    (
                        ha_batch::HEADER_COUNT.into(),
                        Header::Number(batch.envelopes.into()),
                    ),
                ];
                if !batch.is_first_offer {
                    headers.push((ha_batch::HEADER_AGAIN.into(), Header::Number(1)));
                }
                let exchange = topology::EVENTS_EXCHANGE;
                let mut span = ha_trace::send(&batch.trace, exchange, batch.envelopes);
                if let Some(header) = span.traceparent() {
                    headers.push((ha_trace::HEADER.into(), Header::Text(header)));
                }
                let message = Outgoing {
                    exchange,
                    routing_key: routing_key.clone(),
                    payload: batch.payload.clone(),
                    content_type: ha_batch::CONTENT_TYPE,
                    headers,
                };
                let published = publisher.publish(message).await;
                if let Err(error) = &published {
                    span.fail(error);
                }
                Ok(published?)
            }
            Self::Service(client) => {
                let mut span = ha_trace::post(&batch.trace, ha_http::PATH, batch.envelopes);
                let delivering = client.deliver(batch.payload.clone(), batch.is_first_offer);
                let delivered = ha_trace::within(&span.context(), delivering).await;
                if let Err(error) = &delivered {
                    span.fail(error);
                }
                Ok(delivered?)
            }
            Self::Pipeline(handle) => handle.store(batch).await,
        }
    }
}
