//! The dead letters of a run, read one by one: which events they are about.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use ha_broker::{Broker, DeadLetterReader};
use ha_event::Event;
use ha_spool::{Spool, SpoolOptions};

const PAGE_DEAD_LETTERS: usize = 256;
/// Only a limit for what is appended, and nothing is.
const SPOOL_BYTES: u64 = 1 << 30;
const REASON: &str = "x-ha-reason";

/// Dead letters by what they are about.
#[derive(Debug, Default)]
pub struct DeadLetters {
    /// Entity, and microseconds since the epoch, to the number of dead letters.
    events: HashMap<String, BTreeMap<i64, u32>>,
    /// Dead letters read.
    pub total: u64,
    /// Dead letters that hold no event that can be read.
    pub unreadable: u64,
    /// Dead letters by their reason.
    pub reasons: BTreeMap<String, u64>,
}

impl DeadLetters {
    /// All dead letters of the broker's queue; they stay there.
    pub async fn of_broker(broker: Arc<Broker>) -> anyhow::Result<Self> {
        let mut dead_letters = Self::default();
        let mut reader = DeadLetterReader::open(broker).await?;
        while let Some(delivery) = reader.next().await? {
            let reason = delivery
                .header_text(REASON)
                .or_else(|| delivery.death().map(|death| death.reason));
            ha_batch::with_decompressed(&delivery.payload, |batch| dead_letters.take(batch, reason));
        }
        reader.close().await?;
        Ok(dead_letters)
    }

    /// All dead letters in the files of processes that have ended.
    pub async fn of_files(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut dead_letters = Self::default();
        for path in paths {
            dead_letters.read_file(path).await?;
        }
        Ok(dead_letters)
    }

    async fn read_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let spool = Spool::open_existing(SpoolOptions::new(path, SPOOL_BYTES))
            .await
            .with_context(|| format!("reading the dead letters in {}", path.display()))?
            .spool;
        let mut after = 0;
        loop {
            let page = spool.list_dead_letters(after, PAGE_DEAD_LETTERS).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            for listed in &page {
                let headers = &listed.dead_letter.headers;
                let reason = headers.iter().find(|(name, _)| name == REASON);
                let reason = reason.map(|(_, value)| value.clone());
                self.take(&listed.dead_letter.payload, reason);
            }
        }
        spool.close().await;
        Ok(())
    }

    /// Whether there is a dead letter about the event.
    pub fn has(&self, entity_id: &str, time_us: i64) -> bool {
        self.events
            .get(entity_id)
            .is_some_and(|times| times.contains_key(&time_us))
    }

    /// Events that have a dead letter.
    pub fn events(&self) -> u64 {
        self.events.values().map(|times| times.len() as u64).sum()
    }

    fn take(&mut self, payload: &[u8], reason: Option<String>) {
        self.total += 1;
        let reason = reason.unwrap_or_else(|| "none".to_owned());
        *self.reasons.entry(reason).or_default() += 1;
        let Ok(batch) = ha_batch::decode(payload) else {
            self.unreadable += 1;
            return;
        };
        for envelope in &batch.envelopes {
            let Ok(Event::StateChanged(event)) = ha_event::parse(&envelope.json) else {
                self.unreadable += 1;
                continue;
            };
            let Some(time) = event.source_time() else {
                self.unreadable += 1;
                continue;
            };
            let times = self.events.entry(event.entity_id.into_owned()).or_default();
            *times.entry(time.0).or_default() += 1;
        }
    }
}

#[cfg(test)]
impl DeadLetters {
    /// Dead letters about events of these entities and times.
    pub fn about(events: &[(&str, i64)]) -> Self {
        let mut dead_letters = Self::default();
        for (entity_id, time_us) in events {
            let times = dead_letters.events.entry((*entity_id).to_owned()).or_default();
            times.insert(*time_us, 1);
            dead_letters.total += 1;
        }
        dead_letters
    }
}
