//! What Home Assistant's registries say of the entities, read at every connection and again when an
//! event says that something changed.
//!
//! The facts of the entities in a batch travel with it; what is new of an entity is also a record in
//! the stream of its own. Nothing here is in the way of the events: Home Assistant's updates are
//! only counted where events are read, and the lists are read beside the stream. A burst of updates
//! is one reading, and reading takes a tenth of the time at most.

mod lists;
mod rows;

use crate::observe::internal_event::Record;
use crate::receive::filtering::Filtering;
use crate::receive::home::Home;
use bytes::Bytes;
use ha_enrich::ENTITY_RECORD;
use ha_source::{ConnectionState, RequestError, Requester};
use lists::Lists;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use lists::List;
pub use rows::{EntityRow, Registry};

/// Updates come in bursts; the lists are read when none has come for this long.
const QUIET: Duration = Duration::from_millis(250);

/// The lists are read at the latest this long after the first update of a burst.
const BURST_MAX: Duration = Duration::from_secs(5);

/// Rest after a reading, in times of what it took.
const REST: u32 = 10;
const REST_MAX: Duration = Duration::from_secs(300);

/// The entity list of a big home is megabytes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits this long after a request that failed.
const PAUSE: Duration = Duration::from_secs(2);

/// The event types to watch, in the order of [`List::ALL`].
#[must_use]
pub fn watched_types() -> Vec<String> {
    List::ALL.map(|list| list.event_type().to_owned()).into()
}

/// What [`follow`] needs.
pub struct Parts {
    /// Asks Home Assistant.
    pub requester: Requester,
    /// The connection.
    pub state: watch::Receiver<ConnectionState>,
    /// Counts of updates, in the order of [`List::ALL`].
    pub watched: watch::Receiver<Vec<u64>>,
    /// Which entities are kept.
    pub filtering: Filtering,
    /// Is told the current states, which are among the lists.
    pub home: Home,
    /// Where the facts are seen.
    pub registry: watch::Sender<Arc<Registry>>,
    /// Where records go.
    pub records: mpsc::Sender<Record>,
}

/// Keeps the facts fresh for as long as the process runs.
pub async fn follow(mut parts: Parts) {
    let mut lists = Some(Lists::default());
    let mut connection: Option<SystemTime> = None;
    let mut counted: Vec<u64> = Vec::new();
    loop {
        let since = match &*parts.state.borrow_and_update() {
            ConnectionState::Connected { since, .. } => Some(*since),
            _ => None,
        };
        let counts = parts.watched.borrow_and_update().clone();
        let is_new = since != connection;
        let wanted: Vec<List> = List::ALL
            .into_iter()
            .enumerate()
            .filter(|(at, _)| is_new || counts.get(*at) != counted.get(*at))
            .map(|(_, list)| list)
            .collect();
        if since.is_none() || wanted.is_empty() {
            tokio::select! {
                changed = parts.state.changed() => if changed.is_err() { return },
                changed = parts.watched.changed() => match changed {
                    Ok(()) => quiet(&mut parts.watched).await,
                    Err(_) => return,
                },
            }
            continue;
        }
        let began = Instant::now();
        match parts.read(wanted, &mut lists).await {
            Ok(()) => {
                (connection, counted) = (since, counts);
                let rest = (began.elapsed() * REST).min(REST_MAX);
                let before = parts.registry.borrow().clone();
                if parts.publish(&mut lists, &before).await.is_err() {
                    return;
                }
                tokio::time::sleep(rest).await;
            }
            Err(error) => {
                // Whoever waits for the first reading has waited long enough.
                parts.registry.send_modify(|_| {});
                tracing::debug!(%error, "the registries could not be read; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Waits for the end of a burst.
async fn quiet(watched: &mut watch::Receiver<Vec<u64>>) {
    let burst_end = Instant::now() + BURST_MAX;
    let burst =
        async { while let Ok(Ok(())) = tokio::time::timeout(QUIET, watched.changed()).await {} };
    let _ = tokio::time::timeout_at(burst_end, burst).await;
}

/// The batcher is gone: the process ends.
struct Stopped;

impl Parts {
    /// Reads these lists. A list that Home Assistant refuses is done without.
    async fn read(
        &self,
        mut wanted: Vec<List>,
        lists: &mut Option<Lists>,
    ) -> Result<(), RequestError> {
        // A new or renamed entity shows in its state.
        if wanted.contains(&List::Entities) && !wanted.contains(&List::States) {
            wanted.push(List::States);
        }
        for list in wanted {
            let command = list.command();
            let asked =
                self.requester
                    .request_within(command, serde_json::json!({}), REQUEST_TIMEOUT);
            let mut held = lists.take().unwrap_or_default();
            let answer = match asked.await {
                Ok(answer) => answer,
                Err(RequestError::Refused(error)) => {
                    if error.code != "unknown_command" {
                        tracing::warn!(command, %error, "facts of the registry are left out");
                    }
                    held.without(list);
                    *lists = Some(held);
                    continue;
                }
                Err(error) => {
                    *lists = Some(held);
                    return Err(error);
                }
            };
            // Megabytes of JSON are no work for a thread that others share.
            let home = self.home.clone();
            *lists = tokio::task::spawn_blocking(move || take_in(held, list, &answer, &home))
                .await
                .ok();
        }
        Ok(())
    }

    /// Shows the facts and sends what is new of them as records.
    async fn publish(
        &self,
        lists: &mut Option<Lists>,
        before: &Arc<Registry>,
    ) -> Result<(), Stopped> {
        let held = lists.take().unwrap_or_default();
        let (filtering, old) = (self.filtering.clone(), Arc::clone(before));
        let joined = tokio::task::spawn_blocking(move || {
            let registry = held.join(&old, |entity_id| filtering.keeps(entity_id));
            (held, registry)
        });
        let Ok((held, registry)) = joined.await else {
            return Ok(());
        };
        *lists = Some(held);
        let registry = Arc::new(registry);
        self.registry.send_replace(Arc::clone(&registry));
        let mut changed = 0_u64;
        for row in registry.changed_since(before) {
            match Record::new(ENTITY_RECORD, &row.record) {
                Ok(record) => self.records.send(record).await.map_err(|_| Stopped)?,
                Err(error) => tracing::warn!(%error, "a record could not be written"),
            }
            changed += 1;
        }
        tracing::info!(
            entities = registry.len(),
            changed,
            "the registries were read"
        );
        Ok(())
    }
}

fn take_in(mut lists: Lists, list: List, answer: &Bytes, home: &Home) -> Lists {
    let read = lists.read(list, answer).and_then(|()| match list {
        List::States => home.states(answer),
        _ => Ok(()),
    });
    if let Err(error) = read {
        tracing::warn!(%error, command = list.command(), "a registry could not be read");
    }
    lists
}
