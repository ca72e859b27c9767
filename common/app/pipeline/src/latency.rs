//! Source time to stored, exactly: percentiles of a fleet can be merged from these.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use std::sync::{Mutex, PoisonError};

/// Microseconds; longer waits (backlogs) count as this.
const LATENCY_US_MAX: u64 = 24 * 3_600 * 1_000_000;

/// Latencies of live events since the start of the process.
#[derive(Debug)]
pub struct LatencyRecorder {
    histogram: Mutex<Histogram<u64>>,
}

impl LatencyRecorder {
    /// An empty recorder, three significant digits.
    ///
    /// # Errors
    /// Bounds that hdrhistogram does not take; ours are constants.
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            histogram: Mutex::new(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?),
        })
    }

    /// Counts latencies in microseconds, one lock for all.
    pub fn record_us(&self, latencies: impl Iterator<Item = u64>) {
        let mut histogram = self
            .histogram
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for latency in latencies {
            histogram.saturating_record(latency.clamp(1, LATENCY_US_MAX));
        }
    }

    /// (count, p50, p95, p99, max), latencies in milliseconds.
    #[must_use]
    pub fn summary(&self) -> (u64, f64, f64, f64, f64) {
        let histogram = self
            .histogram
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        (
            histogram.len(),
            ms(0.5),
            ms(0.95),
            ms(0.99),
            histogram.max() as f64 / 1e3,
        )
    }

    /// The histogram (microseconds) in HdrHistogram's V2 format.
    #[must_use]
    pub fn serialized(&self) -> Vec<u8> {
        let histogram = self
            .histogram
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        if V2Serializer::new()
            .serialize(&*histogram, &mut bytes)
            .is_err()
        {
            bytes.clear();
        }
        bytes
    }
}
