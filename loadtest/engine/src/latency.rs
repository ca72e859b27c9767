//! Latencies of all processes that write, merged exactly: percentiles cannot be averaged.

use anyhow::Context as _;
use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use loadtest_report::LatencyMs;
use serde_json::Value;

use crate::process::Process;

/// Percentiles of a histogram of microseconds; `None` if it is empty.
pub(crate) fn latency_ms(histogram: &Histogram<u64>) -> Option<LatencyMs> {
    let ms = |us: u64| us as f64 / 1e3;
    let at = |quantile| ms(histogram.value_at_quantile(quantile));
    (!histogram.is_empty()).then(|| LatencyMs {
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        max: ms(histogram.max()),
    })
}

/// The sum of the histograms.
#[derive(Debug, Clone)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Latencies {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            histogram: Histogram::new(3)?,
        })
    }

    /// Adds what a process has measured since its start; to be called once in its life, at the
    /// end. A process that writes nothing has no histogram.
    pub async fn add(&mut self, process: &Process, client: &reqwest::Client) -> anyhow::Result<()> {
        if let Some(histogram) = histogram_of(process, client).await? {
            self.histogram.add(&histogram)?;
        }
        Ok(())
    }

    /// Events measured.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub fn summary(&self) -> Option<LatencyMs> {
        latency_ms(&self.histogram)
    }

    /// What has come since `before`, which is an earlier state of this.
    pub fn since(&self, before: &Self) -> anyhow::Result<Self> {
        let mut histogram = self.histogram.clone();
        histogram.subtract(&before.histogram)?;
        Ok(Self { histogram })
    }
}

async fn histogram_of(
    process: &Process,
    client: &reqwest::Client,
) -> anyhow::Result<Option<Histogram<u64>>> {
    let answer = client
        .get(process.admin_url("/status"))
        .send()
        .await?
        .bytes()
        .await?;
    let status: Value = serde_json::from_slice(&answer)?;
    histogram_in(&status).with_context(|| format!("latency_us_histogram of {}", process.name()))
}

/// The histogram of microseconds in a process's `/status`, if it has one.
pub fn histogram_in(status: &Value) -> anyhow::Result<Option<Histogram<u64>>> {
    let Some(text) = status.get("latency_us_histogram").and_then(Value::as_str) else {
        return Ok(None);
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
    let histogram = Deserializer::new().deserialize(&mut bytes.as_slice())?;
    Ok(Some(histogram))
}
