//! What is seen of the system while a drill goes on: which events are stored, and what waits in
//! queue and spool.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ha_simulator::Ledger;
use loadtest_engine::database::{Database, TimeRange};
use loadtest_engine::harness::Harness;
use loadtest_engine::queues::Depth;
use loadtest_report::Role;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Events younger than this are on their way, and not late.
pub(super) const UNDER_WAY: Duration = Duration::from_millis(500);
const STATUS_MAX: Duration = Duration::from_millis(500);
/// A long drill keeps no more than its newest samples.
const AGES_MAX: usize = 64;

/// One sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// When it began.
    pub(super) at: Instant,
    /// Events fired so long before that they should be stored: the ledger's positions below this.
    pub(super) due: u64,
    /// Of these, events that are not stored.
    pub(super) late: u64,
    /// Events in the spool; `None`: the producer does not say.
    pub(super) spool_events: Option<u64>,
    /// Batches in the queue.
    pub(super) depth: u64,
    /// Dead letters in the queue for them; without a broker, those that the processes have counted:
    /// enough to know when to stop waiting, and at the end all of them are read.
    pub(super) dead_letters: u64,
    /// Events that the producer has reported as lost.
    pub(super) lost: u64,
}

/// The largest values of all samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peaks {
    pub(super) late: u64,
    pub(super) spool_events: u64,
    pub(super) spool_bytes: u64,
    pub(super) lost: u64,
}

impl Sight {
    /// Whether everything that is due is stored, or may be missing, and nothing waits anywhere.
    pub(super) fn is_settled(&self) -> bool {
        self.late <= self.dead_letters + self.lost
            && self.spool_events == Some(0)
            && self.depth == 0
    }
}

/// Looks, until it is dropped.
#[derive(Debug)]
pub(super) struct Observer {
    sight: watch::Receiver<Option<Sight>>,
    peaks: watch::Receiver<Peaks>,
    looking: JoinHandle<()>,
}

impl Observer {
    /// `dead_letters` says that dead letters are to be expected: then they are counted in each sample.
    pub(super) fn start(harness: &Harness, dead_letters: bool) -> anyhow::Result<Self> {
        let producer = harness.names(Role::Producer);
        let producer = producer.first().and_then(|name| harness.process(name));
        let status_url = producer.context("no producer runs")?.admin_url("/status");
        let (sights, sight) = watch::channel(None);
        let (peaks_sender, peaks) = watch::channel(Peaks::default());
        let sampler = Sampler {
            tracker: Tracker::new(harness.ledger()),
            database: harness.shared_database(),
            depth: harness.queues().map(|queues| queues.watched()),
            dead_letters,
            metrics_urls: harness.admin_urls("/metrics"),
            client: harness.client().clone(),
            status_url,
            spool: SpoolSeen::default(),
            fired: VecDeque::new(),
        };
        let looking = tokio::spawn(sampler.look_for_ever(sights, peaks_sender));
        Ok(Self {
            sight,
            peaks,
            looking,
        })
    }

    /// The newest sample.
    pub(super) fn sight(&self) -> Option<Sight> {
        *self.sight.borrow()
    }

    /// Waits for a newer sample.
    pub(super) async fn next(&mut self, wait_max: Duration) {
        let _ = tokio::time::timeout(wait_max, self.sight.changed()).await;
    }

    pub(super) fn peaks(&self) -> Peaks {
        *self.peaks.borrow()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

#[derive(Debug, Default)]
struct SpoolSeen {
    events: Option<u64>,
    bytes: u64,
    run_id: u64,
    lost_before: u64,
    lost: u64,
}

struct Sampler {
    tracker: Tracker,
    database: Arc<Database>,
    depth: Option<Depth>,
    dead_letters: bool,
    metrics_urls: Vec<String>,
    client: reqwest::Client,
    status_url: String,
    spool: SpoolSeen,
    /// How many events had been fired, and when.
    fired: VecDeque<(Instant, u64)>,
}

impl Sampler {
    async fn look_for_ever(
        mut self,
        sights: watch::Sender<Option<Sight>>,
        peaks: watch::Sender<Peaks>,
    ) {
        loop {
            let at = Instant::now();
            self.read_status().await;
            let seen = self.spool.events.unwrap_or_default();
            peaks.send_modify(|peaks| {
                peaks.spool_events = peaks.spool_events.max(seen);
                peaks.spool_bytes = peaks.spool_bytes.max(self.spool.bytes);
                peaks.lost = peaks.lost.max(self.spool.lost_before + self.spool.lost);
            });
            let due = self.due(at);
            // A database that is away says nothing; the next sample will tell.
            if let Ok(late) = self.tracker.late(&self.database, due).await {
                let dead_letters = match &self.depth {
                    _ if !self.dead_letters => 0,
                    Some(depth) => depth.dead_letters().await,
                    None => self.dead_letters_counted().await,
                };
                peaks.send_modify(|peaks| peaks.late = peaks.late.max(late));
                sights.send_replace(Some(Sight {
                    at,
                    due,
                    late,
                    spool_events: self.spool.events,
                    depth: self.depth.as_ref().map_or(0, Depth::now),
                    dead_letters,
                    lost: self.spool.lost_before + self.spool.lost,
                }));
            }
            // Looking must not become a load of its own.
            tokio::time::sleep((at.elapsed() * 3).clamp(POLL_INTERVAL, 10 * POLL_INTERVAL)).await;
        }
    }

    /// Positions of events that were fired long enough ago.
    fn due(&mut self, now: Instant) -> u64 {
        self.fired.push_back((now, self.tracker.ledger.fired()));
        if self.fired.len() > AGES_MAX {
            self.fired.pop_front();
        }
        self.fired
            .iter()
            .rfind(|(at, _)| now.duration_since(*at) >= UNDER_WAY)
            .map_or(0, |(_, fired)| *fired)
    }

    async fn dead_letters_counted(&self) -> u64 {
        let mut dead_letters = 0;
        for url in &self.metrics_urls {
            let asking = async { self.client.get(url).send().await?.text().await };
            if let Ok(Ok(text)) = tokio::time::timeout(STATUS_MAX, asking).await {
                dead_letters += counted(&text, "ha_ingestor_dead_letters_total");
            }
        }
        dead_letters
    }

    async fn read_status(&mut self) {
        let asking = async {
            let answer = self.client.get(&self.status_url).send().await?;
            answer.bytes().await
        };
        let answer = tokio::time::timeout(STATUS_MAX, asking).await;
        let status: Option<Value> = match answer {
            Ok(Ok(bytes)) => serde_json::from_slice(&bytes).ok(),
            _ => None,
        };
        let Some(status) = status else {
            self.spool.events = None;
            return;
        };
        let number = |path| status.pointer(path).and_then(Value::as_u64);
        let run_id = number("/epoch").unwrap_or_default();
        let spool = &mut self.spool;
        if run_id != spool.run_id {
            spool.lost_before += spool.lost;
            (spool.run_id, spool.lost) = (run_id, 0);
        }
        spool.lost = number("/events/lost").unwrap_or(spool.lost);
        spool.events = number("/spool/events");
        spool.bytes = number("/spool/bytes").unwrap_or_default();
    }
}

/// The sum of a counter over its labels, in Prometheus' text format.
fn counted(metrics: &str, name: &str) -> u64 {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
    lines
        .filter_map(|rest| rest.rsplit_once(' '))
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .map(|value| value as u64)
        .sum()
}

/// Which events of the ledger are stored. The stored beginning of the ledger is never read again.
#[derive(Debug)]
struct Tracker {
    ledger: Arc<Ledger>,
    entities: HashMap<Arc<str>, u32>,
    /// Everything before this position is stored.
    first: u64,
}

impl Tracker {
    fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            entities: HashMap::new(),
            first: 0,
        }
    }

    /// How many of the events before position `due` are not stored.
    async fn late(&mut self, database: &Database, due: u64) -> anyhow::Result<u64> {
        let count = usize::try_from(due.saturating_sub(self.first))?;
        let events = self.ledger.events_from(self.first, count);
        let Some(first) = events.first() else {
            return Ok(0);
        };
        let known = self.ledger.entities();
        for (at, id) in known.iter().enumerate().skip(self.entities.len()) {
            self.entities.insert(Arc::clone(id), u32::try_from(at)?);
        }
        // Times rise in the ledger.
        let range = TimeRange {
            from_ns: Some(first.time_us * 1_000),
            to_ns: None,
        };
        let mut stored = HashSet::new();
        let entities = &self.entities;
        database
            .points(range, |point| {
                if let Some(entity) = entities.get(point.entity_id) {
                    stored.insert((*entity, point.time_ns / 1_000));
                }
            })
            .await?;
        let mut late = 0;
        let mut all_stored = true;
        for event in &events {
            let is_stored = stored.contains(&(event.entity, event.time_us));
            all_stored &= is_stored;
            self.first += u64::from(all_stored);
            late += u64::from(!is_stored);
        }
        Ok(late)
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let metrics = "# TYPE dead letters counter\nletters{reason=\"a b\"} 3\nletters{reason=\"c\"} 4\n\
                       other 5\n";
        assert_eq!(counted(metrics, "letters"), 7);
    }
}
