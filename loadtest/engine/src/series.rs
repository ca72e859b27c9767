//! The run over time: what plots are drawn of. A sample a second; the longer the run, the longer the
//! time between two samples, so that a report stays small.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use loadtest_report::Role;
use loadtest_report::{RoleSample, Sample, rounded};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::latency::histogram_in;
use crate::queues::Depth;
use crate::simulated_home::Ledgers;
use crate::usage::{Usage, UsageView};

const INTERVAL: Duration = Duration::from_secs(1);
/// After this many samples the time between two of them doubles.
const SAMPLES_MAX: usize = 600;
const STATUS_MAX: Duration = Duration::from_millis(500);
/// Asking all processes must not become a load of its own.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// Mean memory of the role's largest process in the last third of the samples to that in the first;
/// `None` of fewer than three samples.
pub fn rss_ratio(samples: &[Sample], role: Role) -> Option<f64> {
    let third = samples.len() / 3;
    let mean = |samples: &[Sample]| {
        let of = |sample: &Sample| Some(sample.usage.get(&role)?.rss_mb);
        let known: Vec<f64> = samples.iter().filter_map(of).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let first = mean(&samples[..third]).filter(|first| *first > 0.0)?;
    Some(rounded(mean(&samples[samples.len() - third..])? / first))
}

/// Takes samples until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    begun: Arc<OnceLock<Instant>>,
    samples: Arc<Mutex<Vec<Sample>>>,
    status_urls: Arc<OnceLock<Vec<String>>>,
    sampling: JoinHandle<()>,
}

impl Recorder {
    /// Sampling begins with [`Recorder::begin`].
    pub fn start(
        ledgers: Ledgers,
        depth: Option<Depth>,
        usage: &Usage,
        client: reqwest::Client,
    ) -> Self {
        let (begun, samples) = (Arc::default(), Arc::default());
        let status_urls: Arc<OnceLock<Vec<String>>> = Arc::default();
        let sampler = Sampler {
            ledgers,
            depth,
            usage: usage.view(),
            status_urls: Arc::clone(&status_urls),
            client,
            histograms: HashMap::new(),
            cpu_s: HashMap::new(),
            stored: 0,
            before: Instant::now(),
        };
        let sampling = tokio::spawn(sampler.run(Arc::clone(&begun), Arc::clone(&samples)));
        Self {
            begun,
            samples,
            status_urls,
            sampling,
        }
    }

    /// The processes are asked at these URLs of `/status`, which a restart does not change.
    pub fn ask(&self, status_urls: Vec<String>) {
        self.status_urls.get_or_init(|| status_urls);
    }

    /// The first event is fired now.
    pub fn begin(&self) {
        self.begun.get_or_init(Instant::now);
    }

    /// Takes no more samples: what follows is no part of the run.
    pub fn end(&self) {
        self.sampling.abort();
    }

    pub fn samples(&self) -> Vec<Sample> {
        lock(&self.samples).clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.sampling.abort();
    }
}

fn lock(samples: &Mutex<Vec<Sample>>) -> MutexGuard<'_, Vec<Sample>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Sampler {
    ledgers: Ledgers,
    depth: Option<Depth>,
    usage: UsageView,
    status_urls: Arc<OnceLock<Vec<String>>>,
    client: reqwest::Client,
    /// By URL, as seen last.
    histograms: HashMap<String, Histogram<u64>>,
    /// By role, as seen last.
    cpu_s: HashMap<Role, f64>,
    stored: u64,
    before: Instant,
}

impl Sampler {
    async fn run(mut self, begun: Arc<OnceLock<Instant>>, samples: Arc<Mutex<Vec<Sample>>>) {
        let mut samples_taken = 0;
        loop {
            let at = Instant::now();
            match begun.get() {
                None => {
                    // The beginning is one of the samples.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
                Some(begun) => {
                    let sample = self.sample(*begun).await;
                    lock(&samples).push(sample);
                }
            }
            samples_taken += 1;
            let asked = self.status_urls.get().map_or(0, Vec::len);
            let shortest = INTERVAL.max(ASK_INTERVAL * u32::try_from(asked).unwrap_or(u32::MAX));
            let doublings = u32::try_from(samples_taken / SAMPLES_MAX)
                .unwrap_or_default()
                .min(16);
            tokio::time::sleep((shortest * (1 << doublings)).saturating_sub(at.elapsed())).await;
        }
    }

    async fn sample(&mut self, begun: Instant) -> Sample {
        let statuses = self.statuses().await;
        let now = Instant::now();
        let mut sample = Sample {
            t_s: rounded(now.duration_since(begun).as_secs_f64()),
            fired: self.ledgers.fired(),
            sent: self.ledgers.sent(),
            queue_depth: self.depth.as_ref().map(Depth::now),
            ..Sample::default()
        };
        let mut latest: Option<Histogram<u64>> = None;
        for (url, status) in statuses {
            if let Some(events) = status.pointer("/spool/events").and_then(Value::as_u64) {
                *sample.spool_events.get_or_insert(0) += events;
            }
            if let Some(seconds) = status["backlog_seconds"].as_f64() {
                let largest = sample.backlog_seconds.get_or_insert(0.0);
                *largest = largest.max(rounded(seconds));
            }
            if let Ok(Some(histogram)) = histogram_in(&status) {
                let new = self.new_in(url, histogram);
                self.stored += new.len();
                match &mut latest {
                    None => latest = Some(new),
                    // Of equal precision; values beyond the range widen it.
                    Some(all) => drop(all.add(new)),
                }
            }
        }
        sample.stored = self.stored;
        if let Some(latest) = latest.filter(|latest| !latest.is_empty()) {
            let at = |quantile| Some(latest.value_at_quantile(quantile) as f64 / 1e3);
            (sample.p50_ms, sample.p95_ms, sample.p99_ms) = (at(0.5), at(0.95), at(0.99));
        }
        let passed_s = now.duration_since(self.before).as_secs_f64();
        for role in Role::ALL {
            let Some((cpu_s, rss_mb)) = self.usage.now(role) else {
                continue;
            };
            let before = self.cpu_s.insert(role, cpu_s).unwrap_or(cpu_s);
            let cpus = (cpu_s - before) / passed_s;
            let role_sample = RoleSample {
                cpus: rounded(cpus),
                rss_mb: rounded(rss_mb),
            };
            sample.usage.insert(role, role_sample);
        }
        self.before = now;
        sample
    }

    /// What those say that answer.
    async fn statuses(&self) -> Vec<(String, Value)> {
        let status_urls = self.status_urls.get().map_or(&[][..], Vec::as_slice);
        let asking = status_urls.iter().map(async |url| {
            let asking = async { self.client.get(url).send().await?.bytes().await };
            let answer = tokio::time::timeout(STATUS_MAX, asking).await;
            let status: Value = serde_json::from_slice(&answer.ok()?.ok()?).ok()?;
            Some((url.clone(), status))
        });
        join_all(asking).await.into_iter().flatten().collect()
    }

    /// What is new in a histogram; a process that was started again begins again.
    fn new_in(&mut self, url: String, histogram: Histogram<u64>) -> Histogram<u64> {
        let mut new = histogram.clone();
        if let Some(before) = self.histograms.insert(url, histogram)
            && before.len() <= new.len()
        {
            let whole = new.clone();
            if new.subtract(before).is_err() {
                new = whole;
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_last_third_stands_beside_that_of_the_first() {
        let sample = |rss_mb| {
            let mut sample = Sample::default();
            let usage = RoleSample { cpus: 0.0, rss_mb };
            sample.usage.insert(Role::Worker, usage);
            sample
        };
        let samples: Vec<Sample> = [20.0, 40.0, 90.0, 7.0, 40.0, 50.0].map(sample).into();
        assert_eq!(rss_ratio(&samples, Role::Worker), Some(1.5));
        assert_eq!(rss_ratio(&samples, Role::Producer), None);
        assert_eq!(rss_ratio(&samples[..2], Role::Worker), None);
    }
}
