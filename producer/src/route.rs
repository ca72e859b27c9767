//! The route: the broker in `queue`; the pipeline and its sink in `inline` and `disabled`.

use crate::framer::EncodedFrame;
use ha_assembly::LetterStore;
use ha_broker::{Header, NotDelivered, Outgoing, Publisher, topology};
use ha_pipeline::{Outcome, Pipeline, Work};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Why the route does not have a frame.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The broker's reason.
    #[error(transparent)]
    Broker(#[from] NotDelivered),
    /// The pipeline has ended.
    #[error("the pipeline has ended")]
    PipelineEnded,
}

/// Where frames go.
#[derive(Debug)]
pub enum Route {
    /// To the workers.
    Broker {
        /// The publishing task.
        publisher: Publisher,
        /// The instance: copies of one home's stream can be bound by it.
        routing_key: String,
    },
    /// Through the stages in this process.
    Pipeline(PipelineHandle),
}

/// The sending end of a running pipeline.
#[derive(Debug)]
pub struct PipelineHandle {
    work: mpsc::Sender<Work<oneshot::Sender<()>>>,
}

impl PipelineHandle {
    /// Starts the pipeline. It ends when the handle is dropped and everything is settled.
    #[must_use]
    pub fn start(pipeline: Arc<Pipeline<LetterStore>>, frames_max: usize) -> Self {
        let (work, input) = mpsc::channel(frames_max);
        let (output, mut outcomes) = mpsc::channel::<Outcome<oneshot::Sender<()>>>(frames_max);
        tokio::spawn(async move { pipeline.run(input, output).await });
        tokio::spawn(async move {
            while let Some(outcome) = outcomes.recv().await {
                match outcome {
                    // The framer may have given up at the end of the grace.
                    Outcome::Settled(settled) => drop(settled.send(())),
                    Outcome::NewerVersion(_, found) => {
                        tracing::error!(found, "a frame of a newer version in this process");
                    }
                }
            }
        });
        Self { work }
    }
}

impl Route {
    /// Offers a frame once. Delivered means confirmed by the broker, or stored by the sink.
    ///
    /// # Errors
    /// [`RouteError`]
    pub async fn offer(&self, frame: &EncodedFrame) -> Result<(), RouteError> {
        match self {
            Self::Broker { publisher, routing_key } => {
                let message = Outgoing {
                    exchange: topology::EVENTS_EXCHANGE,
                    routing_key: routing_key.clone(),
                    payload: frame.payload.clone(),
                    content_type: ha_frame::CONTENT_TYPE,
                    headers: vec![
                        (ha_frame::HEADER_VERSION.into(), Header::Number(ha_frame::VERSION.into())),
                        (ha_frame::HEADER_COUNT.into(), Header::Number(frame.events.into())),
                    ],
                };
                Ok(publisher.publish(message).await?)
            }
            Self::Pipeline(handle) => {
                let (ticket, settled) = oneshot::channel();
                let work = Work { payload: frame.payload.clone(), ticket };
                handle.work.send(work).await.map_err(|_| RouteError::PipelineEnded)?;
                settled.await.map_err(|_| RouteError::PipelineEnded)
            }
        }
    }
}
