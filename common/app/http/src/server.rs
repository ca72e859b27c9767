//! The worker's intake: bound, checked, served.

mod ack_handle;
mod body;
mod events;
mod handler;
mod metrics;
mod options;
mod refusal;

pub use options::{IntakeOptions, Limits};

use ack_handle::IntakeAckHandle;
use axum::Router;
use axum::routing::post;
use ha_pipeline::{DeadLetterStore, Outcome, Pipeline, SinkState};
use handler::Shared;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use options::BUFFER_BYTES_MAX;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Batches between the handlers and the pipeline; their bytes are bounded by [`Limits`].
const WORK_BATCHES_MAX: usize = 1_024;

/// Why there is no intake.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Everybody on the network could write.
    #[error(
        "INTAKE_ADDR: {0} can be reached from other machines, and INTAKE_TOKEN is not set; set it, \
         or listen on 127.0.0.1"
    )]
    TokenRequired(SocketAddr),
    /// In use, or not this machine's.
    #[error("INTAKE_ADDR: cannot listen on {address}: {source}; free it, or set another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
}

/// The intake, listening and not yet served.
#[derive(Debug)]
pub struct Intake {
    listener: TcpListener,
    address: SocketAddr,
    options: IntakeOptions,
}

impl Intake {
    /// Checks the options and listens.
    ///
    /// # Errors
    /// [`BindError`]
    pub async fn bind(options: IntakeOptions) -> Result<Self, BindError> {
        let address = options.address;
        if options.token.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(BindError::TokenRequired(address));
        }
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| BindError::Listen { address, source })?;
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!(%address, "events are taken over HTTP");
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// The bound address, with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; then answers what has arrived, and returns when all of it is settled.
    /// While the database is away that may be never: the caller sets the limit.
    ///
    /// The pipeline may run elsewhere at the same time: this is a run of its own.
    pub async fn serve<D: DeadLetterStore>(
        self,
        pipeline: Arc<Pipeline<D>>,
        stop: CancellationToken,
    ) {
        let Self {
            listener, options, ..
        } = self;
        let (work, input) = mpsc::channel(WORK_BATCHES_MAX);
        let (output, outcomes) = mpsc::channel(WORK_BATCHES_MAX);
        let sink = pipeline.sink_state();
        let running = tokio::spawn(async move { pipeline.run(input, output).await });
        let settling = tokio::spawn(settle(outcomes));
        let connections = Arc::new(Semaphore::new(options.limits.connections_max));
        let header_timeout = options.limits.header_timeout;
        let router = router(options, work, sink);

        // Ends the connections too if this future is dropped.
        let mut tasks = JoinSet::new();
        loop {
            let next = async {
                // Closing the semaphore is nobody's business: this cannot fail.
                let permit = Arc::clone(&connections).acquire_owned().await.ok();
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                next = next => next,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection =
                        serve_one(stream, router.clone(), header_timeout, stop.clone());
                    tasks.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                // Out of descriptors, or the sender is gone already.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        // Only the handlers may still send work: the pipeline ends when the last is done.
        drop((listener, router));
        while tasks.join_next().await.is_some() {}
        let _ = running.await;
        let _ = settling.await;
    }
}

fn router(
    options: IntakeOptions,
    work: mpsc::Sender<ha_pipeline::Work<IntakeAckHandle>>,
    sink: watch::Receiver<SinkState>,
) -> Router {
    let shared = Arc::new(Shared {
        requests: Semaphore::new(options.limits.requests_max),
        held_bytes: Arc::new(Semaphore::new(options.limits.held_bytes_max)),
        held_batches: Arc::new(AtomicUsize::new(0)),
        metrics: metrics::Metrics::new(),
        options,
        work,
        sink,
    });
    Router::new()
        .route(crate::PATH, post(handler::events))
        .fallback(handler::elsewhere)
        .with_state(shared)
}

async fn serve_one(
    stream: TcpStream,
    router: Router,
    header_timeout: Duration,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // How a connection ends is the sender's affair: each request has had its answer, or its
    // sender will send it again.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn settle(mut outcomes: mpsc::Receiver<Outcome<IntakeAckHandle>>) {
    while let Some(outcome) = outcomes.recv().await {
        match outcome {
            Outcome::Settled(ack_handle) => ack_handle.settle(),
            // Batches are read before they go in, so this is a defect. Dropping the ack handle answers
            // the sender with 503.
            Outcome::NewerVersion(_, found) => {
                tracing::error!(found, "a batch of a newer version went into the pipeline");
            }
        }
    }
}
