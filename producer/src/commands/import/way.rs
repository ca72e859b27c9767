//! Where an import's batches go, and what comes back.

use super::destination::{BATCHES_UNDER_WAY_MAX, Destination};
use super::lines::LineBatch;
use crate::deliver::route::{Route, RouteError};
use anyhow::Context;
use ha_broker::{Publisher, PublisherOptions};
use ha_http::{ClientOptions, IntakeClient, IntakeError};
use ha_pipeline::{
    AckHandle, DeadLetter, DeadLetterStore, LatencyRecorder, Outcome, Pipeline, SinkState, Work,
};
use ha_resilience::Backoff;
use ha_settings::TlsSettings;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// A batch that the workers refuse so often is refused for good: they say so of the batch itself.
const REFUSALS_MAX: u32 = 3;

/// Line and reason of events that were not taken.
type Refused = Vec<(u64, String)>;

/// A batch's end.
#[derive(Debug)]
pub struct Delivered {
    /// Events in the batch.
    pub events: u64,
    /// Those of them that the database does not take.
    pub refused: Refused,
}

/// The way of an import's batches.
#[derive(Debug)]
pub enum Way {
    /// To the workers, over the broker or HTTP; they keep dead letters of what cannot be stored.
    Workers {
        /// As in `run`.
        route: Box<Route>,
        /// Why the last offer failed.
        reason: Mutex<String>,
    },
    /// Through the stages in this process.
    Pipeline {
        /// Batches go in.
        work: mpsc::Sender<Work<LineAckHandle>>,
        /// Whether the database takes writes.
        sink: watch::Receiver<SinkState>,
    },
}

/// The dead letters of an import are lines of the report: the file still has the events.
#[derive(Debug)]
struct Reported;

impl DeadLetterStore for Reported {
    async fn deliver(&self, _dead_letters: Vec<DeadLetter>) {}
}

/// Collects what is not taken of one batch.
#[derive(Debug)]
pub struct LineAckHandle {
    lines: Vec<u64>,
    refused: Refused,
    settled: oneshot::Sender<Refused>,
}

impl AckHandle for LineAckHandle {
    fn became_dead_letter(&mut self, envelope: usize, dead_letter: &DeadLetter) {
        let line = self.lines.get(envelope).copied().unwrap_or_default();
        self.refused.push((line, dead_letter.error.clone()));
    }
}

impl Way {
    /// Opens the way. The broker and InfluxDB may come later.
    ///
    /// # Errors
    /// A file cannot be opened, a setting cannot be used.
    pub(super) async fn open(
        destination: &Destination,
        instance: &str,
        tls: &TlsSettings,
        compress_bytes_min: Option<usize>,
    ) -> anyhow::Result<Self> {
        match destination {
            Destination::Broker(url) => {
                let name = format!("ha-ingestor import {instance}");
                let broker = ha_settings::broker(url.clone(), name, tls)?;
                let options = PublisherOptions {
                    compress_bytes_min,
                    ..PublisherOptions::default()
                };
                let publisher = Publisher::start(broker, options);
                let routing_key = instance.to_owned();
                Ok(Self::over(Route::Broker {
                    publisher,
                    routing_key,
                    claim: None,
                }))
            }
            Destination::Service(workers) => {
                let (urls, token) = (workers.urls.clone(), workers.token.clone());
                let options = ClientOptions {
                    compress_bytes_min,
                    ..ClientOptions::new(urls, token, Arc::clone(&tls.client))
                };
                Ok(Self::over(Route::Service(IntakeClient::new(options))))
            }
            Destination::Sink {
                sink,
                batch,
                enrichment,
            } => {
                let sink = Arc::new(sink.open(&enrichment.schema, tls).await?);
                let latency = Arc::new(LatencyRecorder::new().context("latency histogram")?);
                let pipeline = Pipeline::new(
                    sink,
                    Arc::new(Reported),
                    Arc::new(enrichment.as_ref().clone()),
                    batch.pipeline(),
                    latency,
                );
                Ok(Self::start(pipeline))
            }
        }
    }

    fn over(route: Route) -> Self {
        Self::Workers {
            route: Box::new(route),
            reason: Mutex::default(),
        }
    }

    fn start(pipeline: Pipeline<Reported>) -> Self {
        let (work, input) = mpsc::channel(BATCHES_UNDER_WAY_MAX);
        let (output, mut outcomes) = mpsc::channel(BATCHES_UNDER_WAY_MAX);
        let sink = pipeline.sink_state();
        tokio::spawn(async move { pipeline.run(input, output).await });
        tokio::spawn(async move {
            while let Some(outcome) = outcomes.recv().await {
                // Batches of a newer version are not made here.
                if let Outcome::Settled(LineAckHandle {
                    refused, settled, ..
                }) = outcome
                {
                    let _ = settled.send(refused);
                }
            }
        });
        Self::Pipeline { work, sink }
    }

    /// Delivers one batch, however long that takes; whoever waits decides when to give up.
    pub async fn deliver(&self, batch: LineBatch) -> Delivered {
        let events = u64::from(batch.batch.events);
        match self {
            Self::Workers { route, reason } => {
                let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
                let mut refusals = 0;
                while let Err(error) = route.offer(&batch.batch).await {
                    if let RouteError::Service(IntakeError::Rejected(words)) = &error {
                        refusals += 1;
                        if refusals >= REFUSALS_MAX {
                            let refused = |line| (line, words.clone());
                            let refused = batch.lines.into_iter().map(refused).collect();
                            return Delivered { events, refused };
                        }
                    }
                    *reason.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
                    tokio::time::sleep(backoff.next_random()).await;
                }
                Delivered {
                    events,
                    refused: Vec::new(),
                }
            }
            Self::Pipeline { work, .. } => loop {
                let (settled, settles) = oneshot::channel();
                let ack_handle = LineAckHandle {
                    lines: batch.lines.clone(),
                    refused: Vec::new(),
                    settled,
                };
                let payload = batch.batch.payload.clone();
                let sent = work
                    .send(Work {
                        payload,
                        replay: None,
                        ack_handle,
                    })
                    .await;
                if let (Ok(()), Ok(refused)) = (sent, settles.await) {
                    return Delivered { events, refused };
                }
                // The pipeline ends only with the process.
                tokio::time::sleep(Duration::from_secs(1)).await;
            },
        }
    }

    /// Why nothing goes through.
    pub fn reason(&self) -> String {
        match self {
            Self::Workers { reason, .. } => reason
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            Self::Pipeline { sink, .. } => match &*sink.borrow() {
                SinkState::Available => "the database is slow".to_owned(),
                SinkState::Unavailable(reason) | SinkState::Refused(reason) => reason.clone(),
            },
        }
    }
}
