//! The producer, put together.

use crate::Config;
use crate::deliver::batcher::{Framer, MakeRecord, Neighbours};
use crate::deliver::direct::DirectWrites;
use crate::deliver::outputs::{self, WayOut};
use crate::deliver::router::Router;
use crate::deliver::standby;
use crate::deliver::workers::follow_workers;
use crate::observe::alerts::{self, Alerting};
use crate::observe::gauges;
use crate::observe::internal_event::Record;
use crate::observe::metrics::Metrics;
use crate::observe::quality::Quality;
use crate::observe::reporter::Reporter;
use crate::observe::status::{
    RouteWatch, StatusParts, follow_broker, follow_home_assistant, follow_spool,
};
use crate::receive::backfill::{Gap, OpenGap, fill_gaps};
use crate::receive::filtering::Filtering;
use crate::receive::home;
use crate::receive::home::Home;
use crate::receive::intake::Intake;
use crate::receive::registry::{self, Registry};
use crate::receive::watermark::{self, Watermark};
use anyhow::Context;
use ha_event::UtcMicros;
use ha_pipeline::{LatestEvents, now_ns};
use ha_protocol::AccessToken;
use ha_source::{Source, SourceEvents, SourceOptions};
use ha_spool::Spool;
use ha_telemetry::{Admin, Health, Rates};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Name of the watermark in the spool: nanoseconds of source time.
const LOW_WATER_MARK: &str = "low_water_ns";

/// Before the names of the entities that are known, among the marks: the value says nothing.
const ENTITY_MARK: &str = "entity/";

/// How often the mark is written.
const MARK_INTERVAL: Duration = Duration::from_secs(10);

/// Events that gap fill has fetched and the framer has not taken.
const BACKFILL_EVENTS_MAX: usize = 256;

/// With so much received and not yet delivered, live events are behind, and gap fill waits.
const QUEUED_BYTES_BEHIND: usize = 4 << 20;

/// Records that the framer has not taken.
const RECORDS_MAX: usize = 256;

/// How long the first records wait for the connections.
const RECORDS_WAIT_MAX: Duration = Duration::from_secs(10);

/// The producer, ready to run.
pub struct App {
    config: Config,
    metrics_handle: PrometheusHandle,
    metrics: Metrics,
    admin: Admin,
    source: Source,
    events: SourceEvents,
    way_out: WayOut,
}

impl App {
    /// Opens what can fail for good: the address, the embedded database, the spool. Home
    /// Assistant, the broker and InfluxDB may come later. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The address is in use, a file cannot be opened, a setting cannot be used.
    pub async fn build(config: Config, metrics_handle: PrometheusHandle) -> anyhow::Result<Self> {
        let admin = Admin::bind(config.admin_address).await?;
        let way_out = outputs::open(&config).await?;
        let token = AccessToken::new(config.home_assistant.token.reveal());
        let tls = Arc::clone(&config.tls.client);
        let mut options = SourceOptions::new(config.home_assistant.url.clone(), token, tls);
        options.event_types = config.home_assistant.event_types.clone();
        options.watched_types = registry::watched_types();
        let (source, events) = Source::new(options).context("HOME_ASSISTANT_URL")?;
        let metrics = Metrics::new();
        Ok(Self {
            config,
            metrics_handle,
            metrics,
            admin,
            source,
            events,
            way_out,
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
        let Self {
            config,
            metrics_handle,
            metrics,
            admin,
            source,
            events,
            way_out,
        } = self;
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let epoch = u64::try_from(epoch).unwrap_or_default();
        let health = Health::starting(&["home_assistant"]);
        health.ends_with(&shutdown);
        let home = Home::unknown();

        let mut beside = JoinSet::new();
        beside.spawn(home::follow(
            source.requester(),
            source.state(),
            home.clone(),
        ));
        beside.spawn(follow_home_assistant(
            source.state(),
            config.home_assistant.url.clone(),
            health.clone(),
        ));
        match &way_out.watch {
            RouteWatch::Broker(state, _) => {
                beside.spawn(follow_broker(state.clone(), health.clone()));
            }
            RouteWatch::Workers(state) => {
                beside.spawn(follow_workers(state.clone(), health.clone()));
            }
            RouteWatch::Sink { .. } => {}
        }
        if let (Some(sink), RouteWatch::Sink { state, .. }) = (way_out.sink, &way_out.watch) {
            let (state, followed) = (state.clone(), Arc::clone(&sink));
            beside.spawn(ha_assembly::follow_sink(followed, state, health.clone()));
            beside.spawn(ha_assembly::keep_retention(sink));
        }
        let WayOut {
            route,
            spool,
            direct,
            letters,
            window_events,
            claim,
            ..
        } = way_out;
        let direct = direct.map(|(sink, enrichment)| {
            DirectWrites::start(sink, enrichment, spool.clone(), metrics.clone())
        });
        let router = Router::new(
            route,
            spool.clone(),
            direct,
            letters,
            window_events,
            metrics.clone(),
        );
        let router = Arc::new(router);
        let (counters, connection) = (source.counters(), source.state());
        let open_gap = OpenGap::default();
        let follow = gauges::follow(
            metrics.clone(),
            counters,
            connection,
            spool.clone(),
            Arc::clone(&router),
            open_gap.clone(),
        );
        beside.spawn(follow);
        beside.spawn(follow_spool(spool.watch(), health.clone()));
        let draining = Arc::clone(&router);
        beside.spawn(async move { draining.drain().await });
        let quality = Arc::new(Quality::new(epoch));
        let (alerts, current_alerts) = watch::channel(Vec::new());
        let latest = LatestEvents::default();
        let rates = Rates::new(["received_per_s", "delivered_per_s"]);
        let (counters, totals) = (source.counters(), Arc::clone(&metrics.totals));
        beside.spawn(rates.clone().follow(move || {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let delivered = count(&totals.confirmed) + count(&totals.drained);
            [count(&counters.events_received), delivered]
        }));
        let status = StatusParts {
            mode: config.mode,
            instance: config.instance.clone(),
            epoch,
            connection: source.state(),
            counters: source.counters(),
            totals: Arc::clone(&metrics.totals),
            quality: Arc::clone(&quality),
            alerts: current_alerts,
            route: way_out.watch,
            router: Arc::clone(&router),
            spool: spool.clone(),
            health: health.clone(),
            rates,
            latest: latest.clone(),
            open_gap: open_gap.clone(),
        };
        let stop_admin = CancellationToken::new();
        let status = status.into_source();
        let admin =
            tokio::spawn(admin.serve(metrics_handle, health.clone(), status, stop_admin.clone()));

        let stop = shutdown.child_token();
        let has_turn = match &claim {
            Some(claim) => {
                standby::turn(&mut claim.state(), &config.instance, &health, &stop).await
            }
            None => true,
        };
        let superseded = claim.as_ref().map(|claim| {
            let (stop, instance) = (stop.clone(), config.instance.clone());
            let health = health.clone();
            let following = standby::follow(claim.state(), instance, health, standby::TAKEN_MAX);
            tokio::spawn(async move {
                let reason = following.await;
                stop.cancel();
                reason
            })
        });

        let marks = spool.marks().await?;
        let known = marks
            .keys()
            .filter_map(|name| name.strip_prefix(ENTITY_MARK));
        let filtering = Filtering::new(config.filter, known.map(str::to_owned));
        beside.spawn(keep_entities(spool.clone(), filtering.clone()));
        let (gaps, gap) = watch::channel(Gap::default());
        let (backfill, backfilled) = mpsc::channel(BACKFILL_EVENTS_MAX);
        let queue_used_bytes = source.queue_used_bytes();
        beside.spawn(fill_gaps(
            source.requester(),
            gap,
            filtering.clone(),
            move || queue_used_bytes() > QUEUED_BYTES_BEHIND,
            open_gap.clone(),
            backfill,
        ));
        let reporter = Reporter {
            quality: Arc::clone(&quality),
            counters: source.counters(),
            totals: Arc::clone(&metrics.totals),
        };
        let (registry, known) = watch::channel(Arc::new(Registry::default()));
        let (record, made) = mpsc::channel(RECORDS_MAX);
        let (relay, records) = mpsc::channel(1);
        beside.spawn(relay_records(made, relay, health));
        beside.spawn(registry::follow(registry::Parts {
            requester: source.requester(),
            state: source.state(),
            watched: source.watched(),
            filtering: filtering.clone(),
            home: home.clone(),
            registry,
            records: record.clone(),
        }));
        let every = config.quality_interval;
        let alerting = Alerting::new(alerts.clone());
        beside.spawn(reporter.clone().report(every, record, alerting));
        if let Some(url) = config.alert_webhook_url {
            let instance = config.instance.clone();
            beside.spawn(alerts::delivery(url, &config.tls, instance, alerts)?);
        }
        let marked = marks.get(LOW_WATER_MARK).map(|mark_ns| believed(*mark_ns));
        let (mark_ns, mark) = watch::channel(marked);
        beside.spawn(keep_mark(spool.clone(), mark.clone()));
        let intake = Intake {
            instance: config.instance,
            epoch,
            filtering,
            event_bytes_max: config.framing.event_bytes_max,
            quality,
            registry: known,
            latest,
            home,
            metrics,
        };
        let reading = tokio::spawn(source.run(stop.clone()));
        let framer = Framer {
            intake,
            limits: config.framing,
            watermark: Watermark::resume(marked),
        };
        let neighbours = Neighbours {
            source: events,
            backfilled,
            records,
            // Of a run that never had its turn there is nothing to say.
            last_record: has_turn.then(|| -> MakeRecord { Box::new(move || reporter.record()) }),
            hold_until: (!config.extra_tags.is_empty()).then(|| stop.clone()),
            gaps,
            open_gap,
            router,
            mark_ns,
        };
        let framing = framer.run(neighbours);
        let finished = within_grace(framing, &stop, config.grace).await;

        reading.abort();
        beside.shutdown().await;
        let last_mark = *mark.borrow();
        write_mark(&spool, last_mark).await;
        spool.close().await;
        stop_admin.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), admin).await;
        if let Some(claim) = claim {
            claim.release().await;
        }
        match superseded {
            Some(superseded) if superseded.is_finished() => finished.and(superseded.await?),
            _ => finished,
        }
    }
}

/// Records have time: until everything is connected they wait, for a moment at most, so that they
/// are not what finds the route away and sends the first events after them into the spool.
async fn relay_records(
    mut made: mpsc::Receiver<Record>,
    records: mpsc::Sender<Record>,
    health: Health,
) {
    let connected = async {
        while !health.reasons().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let _ = tokio::time::timeout(RECORDS_WAIT_MAX, connected).await;
    while let Some(record) = made.recv().await {
        if records.send(record).await.is_err() {
            return;
        }
    }
}

/// Writes the mark when it moves, but not too often; one that is too old costs only a longer gap
/// fill.
async fn keep_mark(spool: Spool, mut mark: watch::Receiver<Option<i64>>) {
    while mark.changed().await.is_ok() {
        let mark_ns = *mark.borrow_and_update();
        write_mark(&spool, mark_ns).await;
        tokio::time::sleep(MARK_INTERVAL).await;
    }
}

/// The stored mark, or what is taken in its place.
fn believed(mark_ns: i64) -> i64 {
    let believed_ns = watermark::believed_ns(mark_ns, now_ns());
    if believed_ns != mark_ns {
        let at = |ns: i64| UtcMicros(ns.div_euclid(1_000));
        tracing::warn!(
            stored = %at(mark_ns), taken = %at(believed_ns),
            "the spool says that events were received up to a time in the future: a clock was wrong, \
             or is. History is read from the time that is taken"
        );
    }
    believed_ns
}

async fn write_mark(spool: &Spool, mark_ns: Option<i64>) {
    let Some(mark_ns) = mark_ns else { return };
    if let Err(error) = spool.set_mark(LOW_WATER_MARK, mark_ns).await {
        tracing::warn!(%error, "the watermark could not be written");
    }
}

/// Keeps the names of entities at once, since one that is removed while this process is down can be
/// asked for by its name only.
async fn keep_entities(spool: Spool, filtering: Filtering) {
    loop {
        let learned = filtering.learned_entities().await;
        let marks = learned
            .iter()
            .map(|entity| (format!("{ENTITY_MARK}{entity}"), 0));
        if let Err(error) = spool.set_marks(marks.collect()).await {
            tracing::warn!(%error, "the names of new entities could not be written");
        }
    }
}

/// Waits for the framer; after `shutdown` no longer than the grace.
async fn within_grace(
    framing: impl Future<Output = anyhow::Result<()>>,
    shutdown: &CancellationToken,
    grace: Duration,
) -> anyhow::Result<()> {
    let grace_over = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        finished = framing => {
            finished?;
            tracing::info!("stopped; everything received is delivered, or in the spool");
        }
        () = grace_over => {
            tracing::error!("the grace is over before everything received could be delivered");
        }
    }
    Ok(())
}
