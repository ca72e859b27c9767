//! What an audit compares a database with: every event that was fired, and whether it reached the
//! socket of a subscribed client.

mod text;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use text::StateText;

/// Records are kept in chunks, so that appending never copies what is there.
const CHUNK_RECORDS: usize = 65_536;

/// One fired event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEvent {
    /// Index into [`Ledger::entities`].
    pub entity: u32,
    /// The new state's `last_updated` in microseconds since the epoch; a removal's `time_fired`.
    /// Unique within an entity.
    pub time_us: i64,
    /// The new state, `None` for a removal.
    pub state: Option<StateText>,
    /// Whether the event's bytes, whole, were written to the socket of a subscribed client before
    /// its unsubscription was processed and before its connection ended. A client that died with
    /// bytes unread has not seen all of them: compare `connection`.
    pub sent: bool,
    /// Number of the first connection that it was written to, from 1; 0 if `sent` is false.
    pub connection: u32,
}

/// 32 bytes an event.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) time_us: i64,
    pub(crate) state: Option<StateText>,
    pub(crate) entity: u32,
    /// 0: not written to any subscribed client.
    pub(crate) connection: u32,
}

impl Record {
    pub(crate) fn new(entity: u32, time_us: i64, state: Option<StateText>) -> Self {
        Self {
            time_us,
            state,
            entity,
            connection: 0,
        }
    }
}

impl From<&Record> for LedgerEvent {
    fn from(record: &Record) -> Self {
        Self {
            entity: record.entity,
            time_us: record.time_us,
            state: record.state.clone(),
            sent: record.connection != 0,
            connection: record.connection,
        }
    }
}

/// The record of all fired events, in the order in which they were fired: 32 bytes an event, plus
/// the state text where it is longer than 14 bytes.
#[derive(Debug, Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: Vec<Vec<Record>>,
    fired: u64,
    sent: u64,
    entities: Vec<Arc<str>>,
    initial: Vec<LedgerEvent>,
}

impl Ledger {
    /// All fired events, oldest first: 40 bytes each. For long runs read in steps with
    /// [`Ledger::events_from`].
    #[must_use]
    pub fn events(&self) -> Vec<LedgerEvent> {
        self.lock()
            .chunks
            .iter()
            .flatten()
            .map(LedgerEvent::from)
            .collect()
    }

    /// At most `events_max` events from position `first` (0 is the oldest) on.
    #[must_use]
    pub fn events_from(&self, first: u64, events_max: usize) -> Vec<LedgerEvent> {
        let inner = self.lock();
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        inner
            .chunks
            .iter()
            .skip(first / CHUNK_RECORDS)
            .flatten()
            .skip(first % CHUNK_RECORDS)
            .take(events_max)
            .map(LedgerEvent::from)
            .collect()
    }

    /// The states that the house began with: nothing fired them, yet `get_states` and the history
    /// show them, so a database may hold them too.
    #[must_use]
    pub fn initial_states(&self) -> Vec<LedgerEvent> {
        self.lock().initial.clone()
    }

    /// Entity ids by index. Indexes never change; replays and injected events add to them.
    #[must_use]
    pub fn entities(&self) -> Vec<Arc<str>> {
        self.lock().entities.clone()
    }

    /// Number of fired events.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.lock().fired
    }

    /// Number of fired events that were written to a subscribed client.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.lock().sent
    }

    pub(crate) fn add_entity(&self, entity_id: Arc<str>) {
        self.lock().entities.push(entity_id);
    }

    pub(crate) fn add_initial(&self, record: &Record) {
        self.lock().initial.push(record.into());
    }

    /// Takes all of `records`; returns the position of the first.
    pub(crate) fn append(&self, records: &mut Vec<Record>) -> u64 {
        let mut inner = self.lock();
        let first = inner.fired;
        inner.fired += records.len() as u64;
        for record in records.drain(..) {
            match inner.chunks.last_mut() {
                Some(chunk) if chunk.len() < CHUNK_RECORDS => chunk.push(record),
                _ => {
                    let mut chunk = Vec::with_capacity(CHUNK_RECORDS);
                    chunk.push(record);
                    inner.chunks.push(chunk);
                }
            }
        }
        first
    }

    /// Notes that `count` events from position `first` on were written to `connection`.
    pub(crate) fn mark_sent(&self, first: u64, count: usize, connection: u32) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let Ok(first) = usize::try_from(first) else {
            return;
        };
        for position in first..first + count {
            let record = inner
                .chunks
                .get_mut(position / CHUNK_RECORDS)
                .and_then(|chunk| chunk.get_mut(position % CHUNK_RECORDS));
            if let Some(record) = record
                && record.connection == 0
            {
                record.connection = connection;
                inner.sent += 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_invisible() {
        assert_eq!(size_of::<Record>(), 32);
        let ledger = Ledger::default();
        let mut position = 0;
        for size in [1, CHUNK_RECORDS - 2, 3, 2 * CHUNK_RECORDS] {
            let mut records = (0..size)
                .map(|offset| Record::new(7, position + offset as i64, None))
                .collect();
            assert_eq!(ledger.append(&mut records), position as u64);
            position += size as i64;
        }
        let times: Vec<i64> = ledger.events().iter().map(|event| event.time_us).collect();
        assert_eq!(times, (0..position).collect::<Vec<_>>());
        ledger.mark_sent(CHUNK_RECORDS as u64 - 1, 3, 9);
        ledger.mark_sent(CHUNK_RECORDS as u64, 1, 10);
        assert_eq!(ledger.sent(), 3);
        let seen = ledger.events_from(CHUNK_RECORDS as u64 - 2, 5);
        let connections: Vec<u32> = seen.iter().map(|event| event.connection).collect();
        assert_eq!(connections, [0, 9, 9, 9, 0]);
        assert!(ledger.events_from(position as u64, 5).is_empty());
    }
}
