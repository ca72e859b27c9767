//! The way out of the producer, as the settings have it: the route and what stands beside it.

use crate::deliver::route::{PipelineHandle, Route};
use crate::deliver::standby;
use crate::deliver::workers::watch_workers;
use crate::observe::status::RouteWatch;
use crate::{Config, Destination};
use anyhow::Context;
use ha_broker::{Claim, Publisher, PublisherOptions};
use ha_dead_letters::{BrokerDeadLetters, DeadLetterPlace, SpoolDeadLetters};
use ha_enrich::Options;
use ha_http::{ClientOptions, IntakeClient};
use ha_pipeline::{LatencyRecorder, Pipeline};
use ha_settings::SinkChoice;
use ha_sink::Sink;
use ha_spool::{Spool, SpoolOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Events without a confirm from the broker, or an answer of the workers, at one time: ten full
/// batches.
const PUBLISH_WINDOW_EVENTS: usize = 2_500;

/// How often the broker is asked how much waits, for those who look at the page.
const DEPTHS_INTERVAL: Duration = Duration::from_secs(10);

/// Everything between the batcher and where events are safe.
pub struct WayOut {
    pub route: Route,
    pub spool: Spool,
    pub direct: Option<(Arc<Sink>, Options)>,
    pub dead_letters: DeadLetterPlace,
    pub window_events: usize,
    pub watch: RouteWatch,
    pub sink: Option<Arc<Sink>>,
    /// The place of the one active producer, where a broker can tell.
    pub claim: Option<Claim>,
}

/// Opens it; the broker, the workers and InfluxDB may come later.
///
/// # Errors
/// A file cannot be opened, a setting cannot be used.
pub async fn open(config: &Config) -> anyhow::Result<WayOut> {
    let spool = open_spool(config).await?;
    match &config.destination {
        Destination::Broker { url, direct } => {
            let direct = direct_sink(config, direct.as_ref()).await?;
            let name = format!("ha-ingestor producer {}", config.instance);
            let broker = ha_settings::broker(url.clone(), name, &config.tls)?;
            let (depths, depths_seen) = watch::channel(None);
            tokio::spawn(ha_broker::follow_depths(
                Arc::clone(&broker),
                DEPTHS_INTERVAL,
                depths,
            ));
            let claim = Claim::start(Arc::clone(&broker), standby::queue_of(&config.instance));
            let options = PublisherOptions {
                compress_bytes_min: config.batching.compress_bytes_min,
                ..PublisherOptions::default()
            };
            let publisher = Publisher::start(broker, options);
            Ok(WayOut {
                watch: RouteWatch::Broker(publisher.state(), depths_seen),
                dead_letters: DeadLetterPlace::Broker(BrokerDeadLetters::new(publisher.clone())),
                spool,
                direct,
                route: Route::Broker {
                    publisher,
                    routing_key: config.instance.clone(),
                    claim: Some(claim.state()),
                },
                window_events: PUBLISH_WINDOW_EVENTS,
                sink: None,
                claim: Some(claim),
            })
        }
        Destination::Service { workers, direct } => {
            let (urls, token) = (workers.urls.clone(), workers.token.clone());
            let tls = Arc::clone(&config.tls.client);
            let client = IntakeClient::new(ClientOptions {
                compress_bytes_min: config.batching.compress_bytes_min,
                ..ClientOptions::new(urls, token, tls)
            });
            Ok(WayOut {
                direct: direct_sink(config, direct.as_ref()).await?,
                watch: RouteWatch::Workers(watch_workers(client.clone())),
                route: Route::Service(client),
                dead_letters: DeadLetterPlace::Spool(SpoolDeadLetters::new(spool.clone())),
                spool,
                window_events: PUBLISH_WINDOW_EVENTS,
                sink: None,
                claim: None,
            })
        }
        Destination::Sink {
            sink,
            batch,
            enrichment,
            weather,
        } => {
            ha_pipeline::describe();
            let sink = Arc::new(sink.open(&enrichment.schema, &config.tls).await?);
            let latency = Arc::new(LatencyRecorder::new().context("latency histogram")?);
            let weather = weather.open(&config.tls)?;
            let pipeline = Pipeline::new(
                Arc::clone(&sink),
                Arc::new(DeadLetterPlace::Spool(SpoolDeadLetters::new(spool.clone()))),
                Arc::new(enrichment.as_ref().clone()),
                batch.pipeline(),
                Arc::clone(&latency),
            );
            let pipeline = Arc::new(pipeline.with_weather(weather));
            let watch = RouteWatch::Sink {
                state: pipeline.sink_state(),
                latency,
                quality: pipeline.quality(),
                totals: pipeline.totals(),
            };
            let handle = PipelineHandle::start(pipeline, batch.prefetch_events_max);
            Ok(WayOut {
                direct: None,
                route: Route::Pipeline(handle),
                dead_letters: DeadLetterPlace::Spool(SpoolDeadLetters::new(spool.clone())),
                spool,
                window_events: batch.prefetch_events_max,
                watch,
                sink: Some(sink),
                claim: None,
            })
        }
    }
}

/// The database of direct writes.
async fn direct_sink(
    config: &Config,
    direct: Option<&(SinkChoice, Box<Options>)>,
) -> anyhow::Result<Option<(Arc<Sink>, Options)>> {
    let Some((choice, enrichment)) = direct else {
        return Ok(None);
    };
    let sink = Arc::new(choice.open(&enrichment.schema, &config.tls).await?);
    Ok(Some((sink, enrichment.as_ref().clone())))
}

async fn open_spool(config: &Config) -> anyhow::Result<Spool> {
    let options = SpoolOptions::new(&config.spool_path, config.spool_bytes_max);
    let opened = Spool::open(options).await?;
    if opened.report.events > 0 {
        tracing::info!(
            events = opened.report.events,
            "the spool holds events of an earlier run"
        );
    }
    if let Some(damaged) = opened.report.moved_aside {
        tracing::error!(
            ?damaged,
            "the spool was damaged; it was moved aside and a new one begun"
        );
    }
    Ok(opened.spool)
}
