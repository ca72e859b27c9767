//! The Prometheus recorder.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::time::Duration;

/// Seconds. Fine where latency aims lie (15 ms, 60 ms, 250 ms), coarse where a backlog shows.
const LATENCY_BUCKETS_S: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1.0, 5.0, 30.0,
    120.0, 600.0, 3_600.0,
];

/// Seconds, for work within the process.
const DURATION_BUCKETS_S: [f64; 10] = [
    0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.025, 0.1, 1.0, 10.0,
];

/// Scores are 100 less tens; a bucket a ten, so that none is lost.
const SCORE_BUCKETS: [f64; 11] = [
    0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0,
];

/// The recorder could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The exporter's words.
    #[error("metrics cannot be set up: {0}")]
    Build(#[from] BuildError),
}

/// Installs the recorder of this process and keeps it tidy in the background. Must be called on a
/// tokio runtime, before the first metric is made.
///
/// # Errors
/// [`MetricsError`]: a second recorder.
pub fn install_metrics(binary: &'static str) -> Result<PrometheusHandle, MetricsError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&DURATION_BUCKETS_S)?
        .set_buckets_for_metric(
            Matcher::Suffix("latency_seconds".into()),
            &LATENCY_BUCKETS_S,
        )?
        .set_buckets_for_metric(
            Matcher::Suffix("write_duration_seconds".into()),
            &LATENCY_BUCKETS_S,
        )?
        .set_buckets_for_metric(Matcher::Suffix("quality_score".into()), &SCORE_BUCKETS)?
        .install_recorder()?;
    metrics::describe_gauge!("ha_ingestor_build_info", "1, with the version as a label");
    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!("ha_ingestor_build_info", "binary" => binary, "version" => version).set(1.0);
    let process = metrics_process::Collector::default();
    process.describe();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_secs(5));
        loop {
            every.tick().await;
            process.collect();
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
