//! What is kept in the spool file beside the batches: the watermark and the names of the entities.

use crate::receive::filtering::Filtering;
use crate::receive::watermark;
use ha_event::UtcMicros;
use ha_pipeline::now_ns;
use ha_spool::{Spool, SpoolError};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// Name of the watermark in the spool: nanoseconds of source time.
const LOW_WATER_MARK: &str = "low_water_ns";

/// Before the names of the entities that are known, among the marks: the value says nothing.
const ENTITY_MARK: &str = "entity/";

/// How often the mark is written.
const MARK_INTERVAL: Duration = Duration::from_secs(10);

/// The marks that an earlier run has kept.
pub struct Marks(BTreeMap<String, i64>);

impl Marks {
    /// Reads them.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub async fn read(spool: &Spool) -> Result<Self, SpoolError> {
        Ok(Self(spool.marks().await?.into_iter().collect()))
    }

    /// The names of the entities that were seen.
    pub fn entities(&self) -> impl Iterator<Item = &str> {
        self.0
            .keys()
            .filter_map(|name| name.strip_prefix(ENTITY_MARK))
    }

    /// The watermark, as far as it can be believed.
    #[must_use]
    pub fn watermark_ns(&self) -> Option<i64> {
        self.0.get(LOW_WATER_MARK).map(|mark_ns| believed(*mark_ns))
    }
}

/// Writes the mark when it moves, but not too often; one that is too old costs only a longer gap
/// fill.
pub async fn keep_mark(spool: Spool, mut mark: watch::Receiver<Option<i64>>) {
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

pub async fn write_mark(spool: &Spool, mark_ns: Option<i64>) {
    let Some(mark_ns) = mark_ns else { return };
    if let Err(error) = spool.set_mark(LOW_WATER_MARK, mark_ns).await {
        tracing::warn!(%error, "the watermark could not be written");
    }
}

/// Keeps the names of entities at once, since one that is removed while this process is down can be
/// asked for by its name only.
pub async fn keep_entities(spool: Spool, filtering: Filtering) {
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
