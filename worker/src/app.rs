//! The worker, put together.

use crate::Config;
use crate::consume::{End, Stages, consume};
use anyhow::Context;
use ha_assembly::BrokerLetters;
use ha_broker::{
    Broker, Publisher, PublisherOptions, Subscription, SubscriptionOptions, topology,
};
use ha_pipeline::{LatencyRecorder, Pipeline};
use ha_resilience::Backoff;
use ha_telemetry::{Admin, Health};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Under load a frame holds so many events (`FRAME_EVENTS_MAX`'s default), and the broker counts
/// its prefetch in messages.
const FRAME_EVENTS: usize = 100;

/// Quorum queues take no larger prefetch.
const PREFETCH_MESSAGES_MAX: usize = 2_000;

/// After a frame of a newer version: somebody is in the middle of an upgrade.
const NEWER_VERSION_PAUSE: Duration = Duration::from_secs(30);

/// The worker, ready to run.
pub struct App {
    metrics: PrometheusHandle,
    admin: Admin,
    worker: Worker,
}

/// Everything but the admin address.
struct Worker {
    config: Config,
    broker: Arc<Broker>,
    pipeline: Arc<Pipeline<BrokerLetters>>,
    latency: Arc<LatencyRecorder>,
    health: Health,
    sink: Arc<ha_assembly::Sink>,
}

impl App {
    /// Opens what can fail for good: the address, the embedded database. The broker and InfluxDB
    /// may come later.
    ///
    /// # Errors
    /// The address is in use, the file cannot be opened, a setting cannot be used.
    pub async fn build(config: Config, metrics: PrometheusHandle) -> anyhow::Result<Self> {
        ha_pipeline::describe();
        let admin = Admin::bind(config.admin_address).await?;
        let sink = Arc::new(ha_assembly::sink(&config.sink, &config.tls).await?);
        let name = format!("ha-ingestor worker {}", std::process::id());
        let broker = ha_assembly::broker(config.amqp_url.clone(), name, &config.tls)?;
        let publisher = Publisher::start(Arc::clone(&broker), PublisherOptions::default());
        let latency = Arc::new(LatencyRecorder::new().context("latency histogram")?);
        let pipeline = Arc::new(Pipeline::new(
            Arc::clone(&sink),
            Arc::new(BrokerLetters::new(publisher)),
            Arc::new(config.enrichment.clone()),
            ha_assembly::pipeline(&config.batch),
            Arc::clone(&latency),
        ));
        let health = Health::starting(&["broker"]);
        let worker = Worker { config, broker, pipeline, latency, health, sink };
        Ok(Self { metrics, admin, worker })
    }

    /// Consumes until `shutdown`, for ever through every outage.
    ///
    /// # Errors
    /// None at present: what can fail for good has failed in [`build`](Self::build).
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { metrics, admin, worker } = self;
        let stop_admin = CancellationToken::new();
        let (status, health) = (worker.status_source(), worker.health.clone());
        let admin = tokio::spawn(admin.serve(metrics, health, status, stop_admin.clone()));
        let retention = tokio::spawn(ha_assembly::keep_retention(Arc::clone(&worker.sink)));
        let sink_state = worker.pipeline.sink_state();
        let sink_health =
            tokio::spawn(ha_assembly::follow_sink(sink_state, worker.health.clone()));
        worker.consume_until(shutdown).await;
        sink_health.abort();
        retention.abort();
        stop_admin.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), admin).await;
        tracing::info!("stopped");
        Ok(())
    }
}

impl Worker {
    async fn consume_until(&self, shutdown: CancellationToken) {
        let prefetch = (self.config.batch.prefetch_events_max / FRAME_EVENTS)
            .clamp(2, PREFETCH_MESSAGES_MAX);
        let options = SubscriptionOptions {
            queue: topology::EVENTS_QUEUE,
            prefetch_messages: u16::try_from(prefetch).unwrap_or(u16::MAX),
            consumer_tag: format!("worker-{}", std::process::id()),
        };
        let in_flight = metrics::gauge!("ha_ingestor_deliveries_in_flight");
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        while !shutdown.is_cancelled() {
            let opened = tokio::select! {
                opened = Subscription::open(Arc::clone(&self.broker), &options) => opened,
                () = shutdown.cancelled() => break,
            };
            let pause = match opened {
                Err(error) => {
                    self.broker_is_away(&error.to_string());
                    backoff.next_random()
                }
                Ok(mut subscription) => {
                    tracing::info!(broker = self.broker.address(), prefetch, "consuming");
                    self.health.ready("broker");
                    backoff.reset();
                    let (stages, running) = self.start_pipeline(prefetch);
                    let grace = self.config.grace;
                    let end =
                        consume(&mut subscription, stages, &shutdown, grace, &in_flight).await;
                    running.abort();
                    in_flight.set(0.0);
                    match end {
                        End::Lost(error) => {
                            self.broker_is_away(&error.to_string());
                            backoff.next_random()
                        }
                        End::NewerVersion(found) => {
                            subscription.close().await;
                            self.pause_for_newer_version(found);
                            NEWER_VERSION_PAUSE
                        }
                        End::Drained => {
                            subscription.close().await;
                            break;
                        }
                        End::GraceOver { held } => {
                            tracing::warn!(held, "the grace is over; deliveries go back to the queue");
                            subscription.close().await;
                            break;
                        }
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    fn start_pipeline(&self, prefetch: usize) -> (Stages, tokio::task::JoinHandle<()>) {
        let (work, input) = mpsc::channel(prefetch);
        let (output, outcomes) = mpsc::channel(prefetch);
        let pipeline = Arc::clone(&self.pipeline);
        let running = tokio::spawn(async move { pipeline.run(input, output).await });
        (Stages { work, outcomes }, running)
    }

    fn broker_is_away(&self, reason: &str) {
        tracing::warn!(reason, "not consuming; trying again for ever");
        self.health.not_ready("broker", reason);
    }

    fn pause_for_newer_version(&self, found: u16) {
        let reason = format!(
            "the queue holds frames of version {found}, and this worker reads up to {}: upgrade \
             the workers before the producers",
            ha_assembly::FRAME_VERSION
        );
        tracing::error!(reason, "paused");
        self.health.not_ready("broker", reason);
    }

    fn status_source(&self) -> ha_telemetry::StatusSource {
        let (health, latency) = (self.health.clone(), Arc::clone(&self.latency));
        let sink = self.pipeline.sink_state();
        let broker = self.broker.address();
        let started = Instant::now();
        Arc::new(move || {
            let mut status = serde_json::json!({
                "binary": "worker",
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_s": started.elapsed().as_secs(),
                "not_ready": health.reasons(),
                "broker": broker,
                "sink": ha_assembly::sink_status(&sink.borrow()),
            });
            if let Some(status) = status.as_object_mut() {
                ha_assembly::latency_status(&latency, status);
            }
            status
        })
    }
}
