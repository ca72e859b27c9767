//! The producer, put together: build, spawn, drain.

mod running;

use crate::Config;
use crate::deliver::batcher::{Batcher, MakeRecord};
use crate::deliver::direct::DirectWrites;
use crate::deliver::outputs::{self, WayOut};
use crate::deliver::router::Router;
use crate::deliver::standby;
use crate::observe::alerts::{self, Alert, Alerting};
use crate::observe::gauges;
use crate::observe::internal_event;
use crate::observe::metrics::Metrics;
use crate::observe::quality::Quality;
use crate::observe::reporter::Reporter;
use crate::observe::status::{RouteWatch, StatusParts, follow_home_assistant, follow_spool};
use crate::receive::backfill::{Gap, OpenGap, fill_gaps};
use crate::receive::continuity::Continuity;
use crate::receive::filtering::Filtering;
use crate::receive::home::{self, Home};
use crate::receive::inputs::Inputs;
use crate::receive::intake::Intake;
use crate::receive::marks::{Marks, keep_entities, keep_mark};
use crate::receive::registry::{self, Registry};
use crate::receive::watermark::Watermark;
use anyhow::Context;
use futures_util::FutureExt;
use ha_pipeline::LatestEvents;
use ha_protocol::AccessToken;
use ha_source::{Source, SourceEvents, SourceOptions};
use ha_spool::Spool;
use ha_telemetry::{Admin, Health, Rates};
use metrics_exporter_prometheus::PrometheusHandle;
use running::Running;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Events that gap fill has fetched and the batcher has not taken.
const BACKFILL_EVENTS_MAX: usize = 256;

/// With this much received and not yet delivered, live events are behind, and gap fill waits.
const QUEUED_BYTES_BEHIND: usize = 4 << 20;

/// Internal events that the batcher has not taken.
const RECORDS_MAX: usize = 256;

/// The producer, ready to run.
pub struct App {
    config: Config,
    metrics_handle: PrometheusHandle,
    metrics: Metrics,
    admin: Admin,
    source: Source,
    events: SourceEvents,
    outputs: WayOut,
}

/// What all parts share.
struct Shared {
    /// This run: milliseconds since 1970.
    run_id: u64,
    metrics: Metrics,
    health: Health,
    home: Home,
    quality: Arc<Quality>,
    alerts: watch::Sender<Vec<Alert>>,
    latest: LatestEvents,
    open_gap: OpenGap,
    spool: Spool,
    router: Arc<Router>,
}

impl App {
    /// Opens what can fail for good: the address, the embedded database, the spool. Home
    /// Assistant, the broker and InfluxDB may come later. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The address is in use, a file cannot be opened, a setting cannot be used.
    pub async fn build(config: Config, metrics_handle: PrometheusHandle) -> anyhow::Result<Self> {
        let admin = Admin::bind(config.admin_address).await?;
        let outputs = outputs::open(&config).await?;
        let token = AccessToken::new(config.home_assistant.token.reveal());
        let tls = Arc::clone(&config.tls.client);
        let mut options = SourceOptions::new(config.home_assistant.url.clone(), token, tls);
        options.event_types = config.home_assistant.event_types.clone();
        options.watched_types = registry::watched_types();
        options.read_interval = config.batching.age_max;
        let (source, events) = Source::new(options).context("HOME_ASSISTANT_URL")?;
        let metrics = Metrics::new();
        Ok(Self {
            config,
            metrics_handle,
            metrics,
            admin,
            source,
            events,
            outputs,
        })
    }

    /// The bound admin address.
    #[must_use]
    pub fn admin_address(&self) -> std::net::SocketAddr {
        self.admin.address()
    }

    /// Ingests until `shutdown`, for ever through every outage; then finishes within the grace.
    ///
    /// # Errors
    /// Another producer of this home has taken its place. Else defects only: what can fail for good
    /// has failed in [`build`](Self::build).
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.spawn(&shutdown).await?.drain().await
    }

    /// Starts every part. Returns when this producer has its turn, where a broker can tell, and takes
    /// events.
    async fn spawn(self, shutdown: &CancellationToken) -> anyhow::Result<Running> {
        let Self {
            config,
            metrics_handle,
            metrics,
            admin,
            source,
            events,
            outputs,
        } = self;
        let stop = shutdown.child_token();
        let health = Health::starting(&["home_assistant"]);
        health.ends_with(shutdown);
        let mut beside = JoinSet::new();
        outputs.watch.follow(&health, &mut beside);
        if let (Some(sink), RouteWatch::Sink { state, .. }) = (&outputs.sink, &outputs.watch) {
            let followed =
                ha_telemetry::follow_sink(Arc::clone(sink), state.clone(), health.clone());
            beside.spawn(followed);
            beside.spawn(ha_sink::keep_retention(Arc::clone(sink)));
        }
        let WayOut {
            route,
            spool,
            direct,
            dead_letters,
            window_events,
            watch: route_watch,
            claim,
            ..
        } = outputs;
        let direct = direct.map(|(sink, enrichment)| {
            DirectWrites::start(sink, enrichment, spool.clone(), metrics.clone())
        });
        let router = Arc::new(Router::new(
            route,
            spool.clone(),
            direct,
            dead_letters,
            window_events,
            metrics.clone(),
        ));
        let run_id = run_started_ms();
        let shared = Shared {
            run_id,
            metrics,
            health,
            home: Home::unknown(),
            quality: Arc::new(Quality::new(run_id)),
            alerts: watch::Sender::default(),
            latest: LatestEvents::default(),
            open_gap: OpenGap::default(),
            spool,
            router,
        };
        let draining = Arc::clone(&shared.router);
        beside.spawn(async move { draining.drain().await });
        let stop_admin = CancellationToken::new();
        let status = shared.observe(&config, &source, route_watch, &mut beside);
        let admin = tokio::spawn(admin.serve(
            metrics_handle,
            shared.health.clone(),
            status.into_source(),
            stop_admin.clone(),
        ));

        let has_turn = match &claim {
            Some(claim) => {
                let (state, instance) = (&mut claim.state(), &config.instance);
                standby::turn(state, instance, &shared.health, &stop).await
            }
            None => true,
        };
        let superseded = claim.as_ref().map(|claim| {
            let (stop, instance) = (stop.clone(), config.instance.clone());
            let health = shared.health.clone();
            let following = standby::follow(claim.state(), instance, health, standby::TAKEN_MAX);
            tokio::spawn(async move {
                let reason = following.await;
                stop.cancel();
                reason
            })
        });
        let grace = config.grace;
        let spool = shared.spool.clone();
        let (batcher, mark) = shared
            .receive(config, &source, events, has_turn, &stop, &mut beside)
            .await?;
        Ok(Running {
            reading: tokio::spawn(source.run(stop.clone())),
            batching: batcher.run().boxed(),
            beside,
            spool,
            mark,
            admin,
            stop_admin,
            claim,
            superseded,
            stop,
            grace,
        })
    }
}

impl Shared {
    /// Starts what watches the parts, and makes the status of them.
    fn observe(
        &self,
        config: &Config,
        source: &Source,
        route: RouteWatch,
        beside: &mut JoinSet<()>,
    ) -> StatusParts {
        let totals = &self.metrics.totals;
        beside.spawn(home::follow(
            source.requester(),
            source.state(),
            self.home.clone(),
        ));
        beside.spawn(follow_home_assistant(
            source.state(),
            config.home_assistant.url.clone(),
            self.health.clone(),
        ));
        beside.spawn(follow_spool(self.spool.watch(), self.health.clone()));
        beside.spawn(gauges::follow(
            self.metrics.clone(),
            source.counters(),
            source.state(),
            self.spool.clone(),
            Arc::clone(&self.router),
            self.open_gap.clone(),
        ));
        let rates = Rates::new(["received_per_s", "delivered_per_s"]);
        let (counters, counted) = (source.counters(), Arc::clone(totals));
        beside.spawn(rates.clone().follow(move || {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let delivered = count(&counted.confirmed) + count(&counted.drained);
            [count(&counters.events_received), delivered]
        }));
        StatusParts {
            mode: config.mode,
            instance: config.instance.clone(),
            run_id: self.run_id,
            connection: source.state(),
            counters: source.counters(),
            totals: Arc::clone(totals),
            quality: Arc::clone(&self.quality),
            alerts: self.alerts.subscribe(),
            route,
            router: Arc::clone(&self.router),
            spool: self.spool.clone(),
            health: self.health.clone(),
            rates,
            latest: self.latest.clone(),
            open_gap: self.open_gap.clone(),
        }
    }

    /// Starts what fetches beside the stream, and puts the stream together: inputs, batcher. The
    /// watermark comes out beside it.
    async fn receive(
        self,
        config: Config,
        source: &Source,
        events: SourceEvents,
        has_turn: bool,
        stop: &CancellationToken,
        beside: &mut JoinSet<()>,
    ) -> anyhow::Result<(Batcher, watch::Receiver<Option<i64>>)> {
        let marks = Marks::read(&self.spool).await?;
        let filtering = Filtering::new(config.filter, marks.entities().map(str::to_owned));
        beside.spawn(keep_entities(self.spool.clone(), filtering.clone()));
        let marked = marks.watermark_ns();
        let (mark_ns, mark) = watch::channel(marked);
        beside.spawn(keep_mark(self.spool.clone(), mark.clone()));

        let (gaps, gap) = watch::channel(Gap::default());
        let (backfill, backfilled) = mpsc::channel(BACKFILL_EVENTS_MAX);
        let queue_used_bytes = source.queue_used_bytes();
        beside.spawn(fill_gaps(
            source.requester(),
            gap,
            filtering.clone(),
            move || queue_used_bytes() > QUEUED_BYTES_BEHIND,
            self.open_gap.clone(),
            backfill,
        ));

        let (registry, known) = watch::channel(Arc::new(Registry::default()));
        let (record, made) = mpsc::channel(RECORDS_MAX);
        let (relay, records) = mpsc::channel(1);
        beside.spawn(internal_event::relay(made, relay, self.health));
        beside.spawn(registry::follow(registry::Parts {
            requester: source.requester(),
            state: source.state(),
            watched: source.watched(),
            filtering: filtering.clone(),
            home: self.home.clone(),
            registry,
            records: record.clone(),
        }));

        let reporter = Reporter {
            quality: Arc::clone(&self.quality),
            counters: source.counters(),
            totals: Arc::clone(&self.metrics.totals),
        };
        let alerting = Alerting::new(self.alerts.clone());
        let every = config.quality_interval;
        beside.spawn(reporter.clone().report(every, record, alerting));
        if let Some(url) = config.alert_webhook_url {
            let instance = config.instance.clone();
            let delivery = alerts::delivery(url, &config.tls, instance, self.alerts)?;
            beside.spawn(delivery);
        }

        let intake = Intake {
            instance: config.instance.clone(),
            run_id: self.run_id,
            filtering,
            event_bytes_max: config.batching.event_bytes_max,
            quality: self.quality,
            registry: known,
            latest: self.latest,
            home: self.home.clone(),
            metrics: self.metrics.clone(),
        };
        let batcher = Batcher {
            instance: config.instance,
            run_id: self.run_id,
            limits: config.batching,
            inputs: Inputs {
                intake,
                source: events,
                backfilled,
                records,
                hold_until: (!config.extra_tags.is_empty()).then(|| stop.clone()),
            },
            home: self.home,
            // A run that never had its turn has nothing to report.
            last_record: has_turn.then(|| -> MakeRecord { Box::new(move || reporter.record()) }),
            continuity: Continuity::new(Watermark::resume(marked), gaps, self.open_gap, mark_ns),
            router: self.router,
            totals: Arc::clone(&self.metrics.totals),
        };
        Ok((batcher, mark))
    }
}

/// Milliseconds since 1970: the number of this run.
fn run_started_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or_default()
}
