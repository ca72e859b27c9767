//! The audit: what the simulator's ledger says was sent, against what the database holds.
//!
//! It goes through time in windows of the ledger, so that memory is bounded by a window. The first
//! window has no beginning and the last no end: a point outside the run's time is seen too.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ha_simulator::{Ledger, LedgerEvent, StateText};

use crate::database::{Database, StoredPoint, TimeRange};
use crate::dead_letters::DeadLetters;

/// About 30 MB with its index.
const WINDOW_EVENTS: usize = 200_000;
const SCAN_EVENTS: usize = 65_536;
const EXAMPLES_MAX: usize = 5;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Events of the ledger, sent or not, that the database holds with their state.
    pub stored: u64,
    /// Sent events that it does not hold, or holds with another state.
    pub missing: u64,
    /// Of these, the ones held with another state.
    pub wrong: u64,
    /// Points too many for an entity and time.
    pub duplicates: u64,
    /// Points that no event of the ledger explains.
    pub unexplained: u64,
    /// Events on a connection that was killed, written behind the last one of that connection
    /// that is stored: it is unknown whether the client could ever read them. Not missing.
    pub uncertain: u64,
    /// Events that the database does not hold, and that a dead letter is about. Not missing.
    pub dead_lettered: u64,
    /// Some of what is wrong, in words.
    pub examples: Vec<String>,
}

impl Audit {
    /// Adds what was found in another home.
    pub fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.missing += other.missing;
        self.wrong += other.wrong;
        self.duplicates += other.duplicates;
        self.unexplained += other.unexplained;
        self.uncertain += other.uncertain;
        self.dead_lettered += other.dead_lettered;
        for example in other.examples {
            note(&mut self.examples, || example);
        }
    }
}

/// Which events of the ledger must be stored.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Those that were sent, but for the unread end of the connections with these numbers, which
    /// the simulator reset.
    Sent(&'a BTreeSet<u32>),
    /// All that were fired, sent or not, because Home Assistant's history has them; or else there
    /// is a dead letter.
    Fired(&'a DeadLetters),
}

/// Events of one connection behind the last stored one, while it may still be the last.
#[derive(Debug, Default)]
struct Tail {
    events: u64,
    examples: Vec<LedgerEvent>,
}

/// Compares every event of the ledger with the database.
///
/// # Errors
/// When the database cannot be read.
pub async fn audit(
    ledger: &Ledger,
    database: &Database,
    expected: Expected<'_>,
    mut on_progress: impl FnMut(u64),
) -> anyhow::Result<Audit> {
    let entities = ledger.entities();
    let index: HashMap<Arc<str>, u32> = entities
        .iter()
        .enumerate()
        .map(|(at, id)| (Arc::clone(id), at as u32))
        .collect();
    let mut initial = Window::new(ledger.initial_states());
    let mut result = Audit::default();
    let mut tails: HashMap<u32, Tail> = HashMap::new();
    let (total, events_max) = (ledger.fired(), window_events_max(ledger));
    let mut range = TimeRange::default();
    let mut position = 0;
    loop {
        let mut window = Window::new(ledger.events_from(position, events_max));
        position += window.events.len() as u64;
        let next = ledger.events_from(position, 1);
        range.to_ns = next.first().map(|event| event.time_us * 1_000);
        let on_point = |point: StoredPoint<'_>| {
            let entity = index.get(point.entity_id).copied();
            let known = entity.is_some_and(|entity| {
                window.found(entity, &point) || initial.found(entity, &point)
            });
            if !known {
                result.unexplained += 1;
                note(&mut result.examples, || format!("unexplained: {point:?}"));
            }
        };
        database.points(range, on_point).await?;
        window.judge(&mut result, &mut tails, expected, &entities);
        on_progress(position);
        range.from_ns = range.to_ns;
        if position >= total {
            break;
        }
    }
    result.duplicates += initial
        .found
        .iter()
        .map(|found| too_many(*found))
        .sum::<u64>();
    result.uncertain = tails.values().map(|tail| tail.events).sum();
    Ok(result)
}

/// Windows need times that rise; only captures replayed with their own times do not.
fn window_events_max(ledger: &Ledger) -> usize {
    let (mut position, mut last) = (0, i64::MIN);
    loop {
        let events = ledger.events_from(position, SCAN_EVENTS);
        if events.is_empty() {
            return WINDOW_EVENTS;
        }
        for event in &events {
            if event.time_us <= last {
                return usize::MAX;
            }
            last = event.time_us;
        }
        position += events.len() as u64;
    }
}

struct Window {
    events: Vec<LedgerEvent>,
    found: Vec<Found>,
    /// Entity and time, to the place in `events`.
    index: HashMap<(u32, i64), u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Found {
    points: u32,
    right: bool,
}

impl Window {
    fn new(events: Vec<LedgerEvent>) -> Self {
        let key = |event: &LedgerEvent| (event.entity, event.time_us);
        let index = events
            .iter()
            .enumerate()
            .map(|(at, event)| (key(event), at as u32))
            .collect();
        Self {
            found: vec![Found::default(); events.len()],
            events,
            index,
        }
    }

    /// Whether the point is one of the window's.
    fn found(&mut self, entity: u32, point: &StoredPoint<'_>) -> bool {
        // Home Assistant's times have microseconds.
        if point.time_ns % 1_000 != 0 {
            return false;
        }
        let Some(at) = self.index.get(&(entity, point.time_ns / 1_000)) else {
            return false;
        };
        let (event, found) = (&self.events[*at as usize], &mut self.found[*at as usize]);
        found.points += 1;
        found.right |= match &event.state {
            Some(state) => point.state.as_deref() == Some(state.as_str()) && !point.removed,
            None => point.state.is_none() && point.removed,
        };
        true
    }

    fn judge(
        &self,
        result: &mut Audit,
        tails: &mut HashMap<u32, Tail>,
        expected: Expected<'_>,
        entities: &[Arc<str>],
    ) {
        let must_be_stored = |event: &LedgerEvent| match expected {
            Expected::Sent(_) => event.sent,
            Expected::Fired(_) => true,
        };
        let may_be_unread = |event: &LedgerEvent| match expected {
            Expected::Sent(killed) => killed.contains(&event.connection),
            Expected::Fired(_) => false,
        };
        let has_dead_letter = |event: &LedgerEvent| match expected {
            Expected::Sent(_) => false,
            Expected::Fired(dead_letters) => entities
                .get(event.entity as usize)
                .is_some_and(|id| dead_letters.has(id, event.time_us)),
        };
        for (event, found) in self.events.iter().zip(&self.found) {
            let duplicates = too_many(*found);
            if duplicates > 0 {
                result.duplicates += duplicates;
                note(&mut result.examples, || {
                    describe("duplicate", event, entities)
                });
            }
            if found.right {
                result.stored += 1;
                // Whatever was written before it on its connection was there to be read.
                if event.sent
                    && let Some(tail) = tails.remove(&event.connection)
                {
                    result.missing += tail.events;
                    for example in &tail.examples {
                        note(&mut result.examples, || {
                            describe("missing", example, entities)
                        });
                    }
                }
            } else if found.points > 0 && must_be_stored(event) {
                result.missing += 1;
                result.wrong += 1;
                note(&mut result.examples, || {
                    describe("another state", event, entities)
                });
            } else if has_dead_letter(event) {
                result.dead_lettered += 1;
            } else if event.sent && may_be_unread(event) {
                let tail = tails.entry(event.connection).or_default();
                tail.events += 1;
                if tail.examples.len() < EXAMPLES_MAX {
                    tail.examples.push(event.clone());
                }
            } else if must_be_stored(event) {
                result.missing += 1;
                note(&mut result.examples, || {
                    describe("missing", event, entities)
                });
            }
        }
    }
}

fn too_many(found: Found) -> u64 {
    u64::from(found.points.saturating_sub(1))
}

fn note(examples: &mut Vec<String>, text: impl FnOnce() -> String) {
    if examples.len() < EXAMPLES_MAX {
        examples.push(text());
    }
}

fn describe(what: &str, event: &LedgerEvent, entities: &[Arc<str>]) -> String {
    let entity_id = entities.get(event.entity as usize).map_or("", |id| id);
    let time = jiff::Timestamp::from_microsecond(event.time_us).unwrap_or_default();
    let state = event.state.as_ref().map_or("(removed)", StateText::as_str);
    format!(
        "{what}: {entity_id} at {time}, state {state:?}, connection {}",
        event.connection
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time_us: i64, connection: u32) -> LedgerEvent {
        let state = Some(StateText::from("on"));
        LedgerEvent {
            entity: 0,
            time_us,
            state,
            sent: connection != 0,
            connection,
        }
    }

    fn point(time_us: i64) -> StoredPoint<'static> {
        let state = Some("on".into());
        StoredPoint {
            entity_id: "light.a",
            time_ns: time_us * 1_000,
            state,
            removed: false,
        }
    }

    /// Two windows: the events' connections, and which of the events are stored.
    fn judged(windows: [(&[u32], &[bool]); 2]) -> Audit {
        let killed = BTreeSet::from([1, 2]);
        judged_as(Expected::Sent(&killed), windows)
    }

    fn judged_as(expected: Expected<'_>, windows: [(&[u32], &[bool]); 2]) -> Audit {
        let (mut result, mut tails) = (Audit::default(), HashMap::new());
        let mut time_us = 0;
        for (connections, stored) in windows {
            let events: Vec<LedgerEvent> = connections
                .iter()
                .map(|connection| {
                    time_us += 1;
                    event(time_us, *connection)
                })
                .collect();
            let mut window = Window::new(events.clone());
            for (event, stored) in events.iter().zip(stored) {
                if *stored {
                    assert!(window.found(0, &point(event.time_us)));
                }
            }
            window.judge(&mut result, &mut tails, expected, &["light.a".into()]);
        }
        result.uncertain = tails.values().map(|tail| tail.events).sum();
        result
    }

    #[test]
    fn only_the_end_of_a_killed_connection_is_uncertain() {
        let (yes, no) = (true, false);
        // Behind the last stored one of connection 1 there are two, of connection 2 none.
        let audit = judged([
            (&[1, 1, 1], &[yes, no, yes]),
            (&[1, 1, 2, 2], &[no, no, no, yes]),
        ]);
        assert_eq!((audit.stored, audit.missing, audit.uncertain), (3, 2, 2));
        // The end of one window is not the end of the connection.
        let audit = judged([(&[1, 1], &[yes, no]), (&[1, 3], &[yes, no])]);
        assert_eq!((audit.stored, audit.missing, audit.uncertain), (2, 2, 0));
        // What was never sent is never missing, but counts where it is stored.
        let audit = judged([(&[0, 0], &[yes, no]), (&[], &[])]);
        assert_eq!((audit.stored, audit.missing, audit.uncertain), (1, 0, 0));
    }

    #[test]
    fn where_history_has_everything_only_a_dead_letter_excuses() {
        let (yes, no) = (true, false);
        // The third event, at 3 µs, has a dead letter; neither a reset nor being unsent excuses others.
        let dead_letters = DeadLetters::about(&[("light.a", 3)]);
        let audit = judged_as(
            Expected::Fired(&dead_letters),
            [(&[1, 1, 1, 0], &[yes, no, no, no]), (&[0], &[yes])],
        );
        assert_eq!((audit.stored, audit.missing), (2, 2));
        assert_eq!((audit.dead_lettered, audit.uncertain), (1, 0));
    }

    #[test]
    fn a_removal_is_a_removal() {
        let gone = LedgerEvent {
            state: None,
            ..event(7, 3)
        };
        let removed = StoredPoint {
            state: None,
            removed: true,
            ..point(7)
        };
        for (right, found) in [(true, removed.clone()), (false, point(7))] {
            let mut window = Window::new(vec![gone.clone()]);
            assert!(window.found(0, &found));
            assert_eq!(window.found[0].right, right);
        }
        let mut window = Window::new(vec![event(7, 3)]);
        assert!(window.found(0, &removed));
        assert!(!window.found[0].right);
        let off_by_a_nanosecond = StoredPoint {
            time_ns: 7_001,
            ..point(7)
        };
        assert!(!window.found(0, &off_by_a_nanosecond));
        assert!(!window.found(1, &point(7)));
    }
}
