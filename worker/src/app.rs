//! The worker, put together.

use crate::Config;
use crate::run::backlog;
use crate::run::consume::{Consumer, End, Limits, Stages};
use crate::run::in_flight::InFlight;
use crate::run::intake;
use crate::run::split::Splitter;
use anyhow::Context;
use ha_broker::{
    Broker, Depths, Publisher, PublisherOptions, Subscription, SubscriptionOptions, topology,
};
use ha_dead_letters::{BrokerDeadLetters, DeadLetterPlace, SpoolDeadLetters};
use ha_http::Intake;
use ha_pipeline::{LatencyRecorder, Pipeline, SINK_PAUSE_MAX, SinkState};
use ha_resilience::Backoff;
use ha_spool::Spool;
use ha_telemetry::{Admin, Health, Rates};
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The broker counts its prefetch in messages. A home's batches hold an event or a few, those of a
/// spool or of a high rate up to `FRAME_EVENTS_MAX`: this is between, so that neither a database
/// that answers late nor memory is the limit.
const BATCH_EVENTS: usize = 100;

/// How often the broker is asked how much waits: `backlog_seconds` follows it.
const DEPTHS_INTERVAL: Duration = Duration::from_secs(2);

/// Quorum queues take no larger prefetch.
const PREFETCH_MESSAGES_MAX: usize = 2_000;

/// After a batch of a newer version: somebody is in the middle of an upgrade.
const NEWER_VERSION_PAUSE: Duration = Duration::from_secs(30);

/// After a subscription's end, for the broker to hear of the last acknowledgements and say so. Pods
/// and containers are given longer than this beyond the grace.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// The spool of a worker holds dead letters; the batches in it are those of dead letters sent again.
const SPOOL_BYTES_MAX: u64 = 1 << 30;

/// The worker, ready to run.
pub struct App {
    metrics: PrometheusHandle,
    admin: Admin,
    intake: Option<Intake>,
    worker: Worker,
}

/// Everything but the addresses.
struct Worker {
    config: Config,
    queue: Option<Queue>,
    pipeline: Arc<Pipeline<DeadLetterPlace>>,
    latency: Arc<LatencyRecorder>,
    health: Health,
    rates: Rates,
    depths: watch::Receiver<Option<Depths>>,
    in_flight: InFlight,
    backlog_seconds: watch::Receiver<f64>,
    sink: Arc<ha_sink::Sink>,
    /// Keeps the dead letters where there is no broker.
    spool: Option<Spool>,
}

/// The way of batches over the broker.
struct Queue {
    broker: Arc<Broker>,
    splitter: Splitter,
}

impl App {
    /// Opens what can fail for good: the addresses, the embedded database, the dead letters' file. The
    /// broker and InfluxDB may come later.
    ///
    /// # Errors
    /// An address is in use, the file cannot be opened, a setting cannot be used.
    pub async fn build(config: Config, metrics: PrometheusHandle) -> anyhow::Result<Self> {
        ha_pipeline::describe();
        describe();
        let admin = Admin::bind(config.admin_address).await?;
        let intake = match &config.intake {
            Some(settings) => Some(intake::bind(settings, &config.instance).await?),
            None => None,
        };
        let sink = Arc::new(
            config
                .sink
                .open(&config.enrichment.schema, &config.tls)
                .await?,
        );
        let health = Health::starting(&["database"]);
        let (depths_known, depths) = watch::channel(None);
        let in_flight = InFlight::of(topology::EVENTS_QUEUE);
        let (backlog_known, backlog_seconds) = watch::channel(0.0);
        tokio::spawn(backlog::follow(
            depths.clone(),
            in_flight.clone(),
            backlog_known,
        ));
        let (queue, spool, dead_letters) = match &config.amqp_url {
            Some(url) => {
                let name = format!("ha-ingestor worker {}", std::process::id());
                let broker = ha_settings::broker(url.clone(), name, &config.tls)?;
                tokio::spawn(ha_broker::follow_depths(
                    Arc::clone(&broker),
                    DEPTHS_INTERVAL,
                    depths_known,
                ));
                let publisher = Publisher::start(Arc::clone(&broker), PublisherOptions::default());
                health.not_ready("broker", "starting");
                health.not_ready("suspects", "starting");
                let dead_letters =
                    DeadLetterPlace::Broker(BrokerDeadLetters::new(publisher.clone()));
                let splitter = Splitter::new(publisher);
                (Some(Queue { broker, splitter }), None, dead_letters)
            }
            None => {
                let (spool, path) = config.dead_letters_file.open(SPOOL_BYTES_MAX).await?;
                tracing::info!(path = %path.display(), "dead letters are kept in a file");
                let dead_letters = DeadLetterPlace::Spool(SpoolDeadLetters::new(spool.clone()));
                (None, Some(spool), dead_letters)
            }
        };
        let latency = Arc::new(LatencyRecorder::new().context("latency histogram")?);
        let weather = config.weather.open(&config.tls)?;
        let pipeline = Pipeline::new(
            Arc::clone(&sink),
            Arc::new(dead_letters),
            Arc::new(config.enrichment.clone()),
            config.batch.pipeline(),
            Arc::clone(&latency),
        );
        let pipeline = Arc::new(pipeline.with_weather(weather));
        let worker = Worker {
            config,
            queue,
            pipeline,
            latency,
            health,
            rates: Rates::new(["received_per_s", "stored_per_s"]),
            depths,
            in_flight,
            backlog_seconds,
            sink,
            spool,
        };
        Ok(Self {
            metrics,
            admin,
            intake,
            worker,
        })
    }

    /// Consumes and serves until `shutdown`, for ever through every outage. Then its parts end in this
    /// order:
    ///
    /// 1. the subscriptions and the HTTP intake take no more; what they hold is written and
    ///    acknowledged or answered, within the grace; the broker has the last acknowledgements;
    /// 2. dead letters that are sent again from the spool;
    /// 3. the spool of dead letters;
    /// 4. what follows the database;
    /// 5. health, metrics and status.
    ///
    /// # Errors
    /// None at present: what can fail for good has failed in [`build`](Self::build).
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            metrics,
            admin,
            intake,
            worker,
        } = self;
        worker.health.ends_with(&shutdown);
        let stop_admin = CancellationToken::new();
        let intake_address = intake.as_ref().map(Intake::address);
        let (status, health) = (worker.status_source(intake_address), worker.health.clone());
        let admin = tokio::spawn(admin.serve(metrics, health, status, stop_admin.clone()));
        let retention = tokio::spawn(ha_sink::keep_retention(Arc::clone(&worker.sink)));
        let sink_state = worker.pipeline.sink_state();
        let sink_health = tokio::spawn(ha_telemetry::follow_sink(
            Arc::clone(&worker.sink),
            sink_state,
            worker.health.clone(),
        ));
        let replaying = worker.spool.clone().map(|spool| {
            let (pipeline, shutdown) = (Arc::clone(&worker.pipeline), shutdown.clone());
            tokio::spawn(intake::drain(spool, pipeline, shutdown))
        });
        let totals = worker.pipeline.totals();
        let rates = tokio::spawn(worker.rates.clone().follow(move || {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            [count(&totals.received), count(&totals.stored)]
        }));
        tokio::join!(
            worker.consume_until(&shutdown),
            worker.serve_until(intake, &shutdown),
        );
        if let Some(replaying) = replaying {
            let _ = replaying.await;
        }
        rates.abort();
        intake::close(worker.spool).await;
        sink_health.abort();
        retention.abort();
        stop_admin.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), admin).await;
        tracing::info!("stopped");
        Ok(())
    }
}

impl Worker {
    /// Takes events over HTTP until shutdown, where that is wanted.
    async fn serve_until(&self, intake: Option<Intake>, shutdown: &CancellationToken) {
        if let Some(intake) = intake {
            let pipeline = Arc::clone(&self.pipeline);
            intake::serve(intake, pipeline, shutdown, self.config.grace).await;
        }
    }

    /// Consumes both queues until shutdown, where there is a broker.
    async fn consume_until(&self, shutdown: &CancellationToken) {
        let Some(queue) = &self.queue else { return };
        let prefetch =
            (self.config.batch.prefetch_events_max / BATCH_EVENTS).clamp(2, PREFETCH_MESSAGES_MAX);
        let events = SubscriptionOptions {
            queue: topology::EVENTS_QUEUE,
            prefetch_messages: u16::try_from(prefetch).unwrap_or(u16::MAX),
            consumer_tag: format!("worker-{}", std::process::id()),
        };
        // One at a time: the event that kills a worker takes no other with it.
        let suspects = SubscriptionOptions {
            queue: topology::SUSPECTS_QUEUE,
            prefetch_messages: 1,
            consumer_tag: format!("worker-{}-suspects", std::process::id()),
        };
        let of_suspects = InFlight::of(topology::SUSPECTS_QUEUE);
        tokio::join!(
            self.consume_queue(queue, &events, "broker", &self.in_flight, shutdown),
            self.consume_queue(queue, &suspects, "suspects", &of_suspects, shutdown),
        );
    }

    /// One queue, through every outage, until shutdown.
    async fn consume_queue(
        &self,
        Queue { broker, splitter }: &Queue,
        options: &SubscriptionOptions,
        part: &'static str,
        in_flight: &InFlight,
        shutdown: &CancellationToken,
    ) {
        let queue = options.queue;
        let splitter = (queue == topology::EVENTS_QUEUE).then_some(splitter);
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        while !shutdown.is_cancelled() {
            let opened = tokio::select! {
                opened = Subscription::open(Arc::clone(broker), options) => opened,
                () = shutdown.cancelled() => break,
            };
            let pause = match opened {
                Err(error) => {
                    self.not_consuming(part, &error.to_string());
                    backoff.next_random()
                }
                Ok(subscription) => {
                    let prefetch = options.prefetch_messages;
                    tracing::info!(broker = broker.address(), queue, prefetch, "consuming");
                    self.health.ready(part);
                    backoff.reset();
                    match self
                        .consume_subscription(subscription, options, splitter, shutdown, in_flight)
                        .await
                    {
                        End::Lost(error) => {
                            self.not_consuming(part, &error.to_string());
                            backoff.next_random()
                        }
                        End::SinkAway => {
                            self.wait_for_sink(shutdown).await;
                            Duration::ZERO
                        }
                        End::NewerVersion(found) => {
                            self.pause_for_newer_version(part, found);
                            NEWER_VERSION_PAUSE
                        }
                        End::Drained => break,
                        End::GraceOver { held } => {
                            tracing::warn!(
                                held,
                                "the grace is over; deliveries go back to the queue"
                            );
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

    async fn consume_subscription(
        &self,
        mut subscription: Subscription,
        options: &SubscriptionOptions,
        splitter: Option<&Splitter>,
        shutdown: &CancellationToken,
        in_flight: &InFlight,
    ) -> End {
        let (stages, running) = self.start_pipeline(usize::from(options.prefetch_messages));
        let limits = Limits {
            grace: self.config.grace,
            sink_hold: self.config.sink_hold,
            prefetch_messages: usize::from(options.prefetch_messages),
        };
        let sink = self.pipeline.sink_state();
        // On the heap: what it holds across its waits is large.
        let consumer = Consumer {
            subscription: &mut subscription,
            splitter,
            sink,
            shutdown,
            limits,
            in_flight,
        };
        let end = Box::pin(consumer.run(stages));
        let end = end.await;
        running.abort();
        in_flight.observe(0, 0);
        if !matches!(end, End::Lost(_)) {
            let closed = tokio::time::timeout(CLOSE_MAX, subscription.close());
            let failure = match closed.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {} s", CLOSE_MAX.as_secs())),
            };
            if let Some(reason) = failure {
                tracing::warn!(
                    queue = options.queue,
                    reason,
                    "the broker did not confirm the last acknowledgements; batches that are stored \
                     may be delivered once more, and become the same points"
                );
            }
        }
        end
    }

    /// Nothing is taken off the queue again until the database has answered a probe: an outage,
    /// however long, costs a message one delivery.
    async fn wait_for_sink(&self, shutdown: &CancellationToken) {
        tracing::warn!("the database is away for long; deliveries went back to the queue");
        let mut backoff = Backoff::new(Duration::from_secs(1), SINK_PAUSE_MAX);
        let mut state = self.pipeline.sink_state();
        while let Err(error) = self.sink.probe().await {
            tracing::debug!(%error, "the database is still away");
            tokio::select! {
                () = tokio::time::sleep(backoff.next_random()) => {}
                // The other queue's probe, or a request of the intake, has found it first.
                _ = state.wait_for(|state| *state == SinkState::Available) => return,
                () = shutdown.cancelled() => return,
            }
        }
        self.pipeline.sink_is_back();
    }

    fn start_pipeline(&self, prefetch: usize) -> (Stages, tokio::task::JoinHandle<()>) {
        let (work, input) = mpsc::channel(prefetch);
        let (output, outcomes) = mpsc::channel(prefetch);
        let pipeline = Arc::clone(&self.pipeline);
        let running = tokio::spawn(async move { pipeline.run(input, output).await });
        (Stages { work, outcomes }, running)
    }

    fn not_consuming(&self, part: &'static str, reason: &str) {
        tracing::warn!(part, reason, "not consuming; trying again for ever");
        self.health.not_ready(part, reason);
    }

    fn pause_for_newer_version(&self, part: &'static str, found: u16) {
        let reason = format!(
            "the queue holds batches of version {found}, and this worker reads up to {}: upgrade \
             the workers before the producers",
            ha_batch::VERSION
        );
        tracing::error!(reason, "paused");
        self.health.not_ready(part, reason);
    }

    fn status_source(&self, intake: Option<SocketAddr>) -> ha_telemetry::StatusSource {
        let (health, latency) = (self.health.clone(), Arc::clone(&self.latency));
        let quality = self.pipeline.quality();
        let sink = self.pipeline.sink_state();
        let broker = self.queue.as_ref().map(|queue| queue.broker.address());
        let (rates, depths) = (self.rates.clone(), self.depths.clone());
        let backlog_seconds = self.backlog_seconds.clone();
        let (totals, latest) = (self.pipeline.totals(), self.pipeline.latest_events());
        let started = Instant::now();
        Arc::new(move || {
            let mut status = serde_json::json!({
                "binary": "worker",
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_s": started.elapsed().as_secs(),
                "not_ready": health.reasons(),
                "broker": broker,
                "intake": intake,
                "sink": ha_telemetry::sink_status(&sink.borrow()),
                "backlog_seconds": *backlog_seconds.borrow(),
                "queues": ha_telemetry::queues_status(*depths.borrow()),
                "dead_letters": totals.dead_lettered.load(Ordering::Relaxed),
                "rates": rates.status(),
                "latest_events": ha_telemetry::latest_events_status(&latest),
            });
            if let Some(status) = status.as_object_mut() {
                ha_telemetry::latency_status(&latency, status);
                let quality = ha_telemetry::quality_status(&quality.summary());
                status.insert("quality".into(), quality);
            }
            status
        })
    }
}

fn describe() {
    metrics::describe_gauge!(
        "ha_ingestor_deliveries_in_flight",
        "Deliveries that are held and not acknowledged"
    );
    metrics::describe_gauge!(
        "ha_ingestor_backlog_seconds",
        metrics::Unit::Seconds,
        "How long what waits in the queue takes at the drain rate of the last 6 s"
    );
}
