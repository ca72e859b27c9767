//! Gap fill: after a gap, what Home Assistant's recorder kept of it comes in as events of the
//! origin `backfill`, through the same filter and batches as live ones.
//!
//! History is read from a minute before the gap, and again half a minute after the connection,
//! because the recorder commits late; then the current states, for what the recorder leaves out.
//! The gap stays open until a reading of then or later was answered in every part: while Home
//! Assistant starts, or migrates its database, it refuses history, for minutes in a large home.
//! Reading too much is harmless: the same event twice is one point. History comes in small pieces
//! and only while live events are not behind: a home cuts off a client that falls behind, and what
//! is missing then is a longer gap.

mod event;
mod history;
mod open_gap;
mod periods;

use crate::receive::filtering::Filtering;
use bytes::Bytes;
use ha_event::UtcMicros;
use ha_protocol::HomeAssistantError;
use ha_resilience::Backoff;
use ha_source::{RequestError, Requester};
use periods::{Period, Periods};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::slice;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use event::BackfilledEvent;
pub use history::{Answer, StartStates, events_of, start_states_of};
pub use open_gap::OpenGap;

const HISTORY: &str = "history/history_during_period";

/// Home Assistant's error code for a request that names an id which cannot be an entity's.
const INVALID_ENTITY_IDS: &str = "invalid_entity_ids";

/// Events of history are as late as this by the source's own clock.
const MARGIN: Duration = Duration::from_secs(60);

/// The recorder's default commit interval is 5 s; a busy database takes longer.
const SECOND_READING_AFTER: Duration = Duration::from_secs(30);

/// Entities of one request; the time that it covers keeps its answer small ([`Periods`]).
const ENTITIES_A_REQUEST: usize = 50;

/// How often it is looked whether live events are still behind.
const BEHIND_INTERVAL: Duration = Duration::from_millis(100);

/// Home Assistant's database may be slow.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits this long after a request that failed.
const PAUSE: Duration = Duration::from_secs(2);

/// While Home Assistant gives no history at all, it is asked for a small one after pauses that grow
/// from the first to the second.
const NO_HISTORY_PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// After a reading of which a part was refused, the next one begins after pauses that grow likewise.
const REFUSED_PAUSE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(300)];

/// A current state dated further in the future than this says nothing of Home Assistant's clock.
const AHEAD_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Python's and our own dates end with the year 9999.
const TIME_MAX: UtcMicros = UtcMicros(253_000_000_000_000_000);

/// What gap fill hands to the batcher.
#[derive(Debug)]
pub enum Backfilled {
    /// An event.
    Event(BackfilledEvent),
    /// Everything that there was of the gap with this number has been handed over.
    Done(u64),
}

/// A new connection, numbered, and the gap before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gap {
    /// Counts connections; 0 is none yet.
    pub number: u64,
    /// Where the gap begins, nanoseconds of source time. None at the very first connection: nothing
    /// is missing, and only the entities that there are are learned.
    pub from: Option<i64>,
}

/// Fills gaps for as long as the process runs. A new gap, which includes the old one, replaces it.
/// Nothing is asked for while live events are `behind`. Refusals are told to `open_gap`.
pub async fn fill_gaps(
    requester: Requester,
    mut gaps: watch::Receiver<Gap>,
    filtering: Filtering,
    behind: impl Fn() -> bool + Sync,
    open_gap: OpenGap,
    output: mpsc::Sender<Backfilled>,
) {
    let mut no_entities = BTreeSet::new();
    loop {
        let gap = *gaps.borrow_and_update();
        if gap.number > 0 {
            let mut filler = Filler {
                requester: &requester,
                filtering: &filtering,
                behind: &behind,
                open_gap: &open_gap,
                output: &output,
                no_entities: &mut no_entities,
            };
            let filling = async {
                match gap.from {
                    Some(from_ns) => filler.fill(gap.number, from_ns).await,
                    None => drop(filler.current_states().await),
                }
            };
            tokio::select! {
                () = filling => {}
                changed = gaps.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
        }
        if gaps.changed().await.is_err() {
            return;
        }
    }
}

/// What is of use of a state of `get_states`.
#[derive(Deserialize)]
struct CurrentState<'a> {
    entity_id: String,
    last_updated: String,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
    state: String,
    last_changed: String,
}

struct Filler<'a> {
    requester: &'a Requester,
    filtering: &'a Filtering,
    behind: &'a (dyn Fn() -> bool + Sync),
    open_gap: &'a OpenGap,
    output: &'a mpsc::Sender<Backfilled>,
    /// Names that Home Assistant says cannot be entities; they are not asked for again.
    no_entities: &'a mut BTreeSet<String>,
}

/// The batcher is gone: the process ends.
struct Stopped;

/// What one reading of the gap came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reading {
    events: u64,
    /// Requests that Home Assistant answered.
    answered: u64,
    /// Requests that it refused, or answered with what cannot be read.
    refused: u64,
}

/// What Home Assistant's states say.
struct Current {
    /// A `state_changed` event for each kept state.
    events: Vec<BackfilledEvent>,
    /// A time after all of them, and after now by either clock.
    until: UtcMicros,
    /// Covers states dated so far in the future that asking up to there hour by hour would not end.
    beyond: Option<Period>,
}

impl Filler<'_> {
    async fn fill(&mut self, number: u64, from_ns: i64) {
        let from = UtcMicros(from_ns.div_euclid(1_000).saturating_sub(micros(MARGIN)));
        tracing::info!(from = %from, "filling the gap from Home Assistant's history");
        let [min, max] = REFUSED_PAUSE;
        let mut backoff = Backoff::new(min, max);
        let mut second_reading = Instant::now() + SECOND_READING_AFTER;
        loop {
            let is_late_enough = Instant::now() >= second_reading;
            let Ok(reading) = self.read(from).await else {
                return;
            };
            let Reading {
                events, refused, ..
            } = reading;
            tracing::info!(events, refused, "history was read");
            if refused > 0 {
                tracing::warn!(
                    refused,
                    "Home Assistant did not give all of the gap's history. The gap stays open, and \
                     it is asked again. It refuses while it starts or migrates its database; if it \
                     goes on, see whether its recorder and history integrations are on"
                );
                tokio::time::sleep(backoff.next_random()).await;
                self.wait_for_history(from).await;
                second_reading = Instant::now() + SECOND_READING_AFTER;
            } else if is_late_enough {
                break;
            } else {
                tokio::time::sleep_until(second_reading).await;
            }
        }
        let _ = self.output.send(Backfilled::Done(number)).await;
    }

    /// Waits until Home Assistant answers a request for history at all.
    async fn wait_for_history(&self, from: UtcMicros) {
        let Some(entity) = self.filtering.known_entities().pop_first() else {
            return;
        };
        let shortest = Period {
            after: from,
            before: after(from, Duration::from_micros(1)),
        };
        let [min, max] = NO_HISTORY_PAUSE;
        let mut backoff = Backoff::new(min, max);
        while let Err(error) = self.rows(slice::from_ref(&entity), shortest, false).await {
            if error.code == INVALID_ENTITY_IDS {
                return;
            }
            self.open_gap.refused(error.to_string());
            tokio::time::sleep(backoff.next_random()).await;
        }
    }

    /// One reading of history and current states.
    async fn read(&mut self, from: UtcMicros) -> Result<Reading, Stopped> {
        let mut reading = Reading::default();
        let Some(current) = self.current_states().await else {
            self.refused(&mut reading, "get_states could not be read".into());
            return Ok(reading);
        };
        // Those that are no more, too: they were removed in the gap.
        let mut known: Vec<String> = self.filtering.known_entities().into_iter().collect();
        let mut periods = Periods::new(from, current.until).and(current.beyond);
        let mut states = StartStates::new();
        while let Some(period) = periods.next() {
            known.retain(|entity| !self.no_entities.contains(entity));
            let answered = reading.answered;
            let mut bytes_max = 0;
            for entities in known.chunks(ENTITIES_A_REQUEST) {
                let bytes = self
                    .history(entities, period, &mut states, &mut reading)
                    .await?;
                bytes_max = bytes_max.max(bytes);
            }
            if reading.answered == answered {
                // There is no history to be had now.
                return Ok(reading);
            }
            periods.adapt(bytes_max);
        }
        // What the recorder leaves out still has its last state.
        let events = current.events.into_iter();
        for event in events.filter(|event| event.time >= from) {
            reading.events += 1;
            self.output
                .send(Backfilled::Event(event))
                .await
                .map_err(|_| Stopped)?;
        }
        Ok(reading)
    }

    fn refused(&self, reading: &mut Reading, reason: String) {
        tracing::debug!(reason, "a part of the history was not given");
        reading.refused += 1;
        self.open_gap.refused(reason);
    }

    /// The kept entities' current states, whose names are remembered; none if the answer is no list.
    async fn current_states(&self) -> Option<Current> {
        loop {
            let asked = self
                .requester
                .request_within("get_states", json!(null), REQUEST_TIMEOUT);
            match asked.await {
                Ok(json) => match self.read_current(&json) {
                    Ok(current) => {
                        let entities = current.events.iter();
                        self.filtering
                            .learn_entities(entities.map(|event| event.entity_id.as_str()));
                        return Some(current);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "get_states could not be read");
                        return None;
                    }
                },
                // A new connection replaces this filling; until then there is time.
                Err(error) => self.wait_after("get_states", &error).await,
            }
        }
    }

    fn read_current(&self, json: &Bytes) -> Result<Current, serde_json::Error> {
        let states: Vec<&RawValue> = serde_json::from_slice(json)?;
        let now = now();
        let (mut clock, mut latest) = (now, now);
        let mut events = Vec::with_capacity(states.len());
        let mut unreadable = 0;
        for json in states {
            let Some((state, time)) = current_state(json) else {
                unreadable += 1;
                continue;
            };
            latest = latest.max(time);
            if time <= after(now, AHEAD_MAX) {
                clock = clock.max(time);
            }
            if self.filtering.keeps(&state.entity_id) {
                let attributes = state.attributes.map_or("{}", RawValue::get);
                let new = history::state(
                    &state.entity_id,
                    &state.state,
                    attributes,
                    &state.last_changed,
                    &state.last_updated,
                );
                let json = history::event(&state.entity_id, None, Some(&new), &state.last_updated);
                events.push(BackfilledEvent {
                    entity_id: state.entity_id,
                    time,
                    json: json.into(),
                });
            }
        }
        if unreadable > 0 {
            tracing::warn!(unreadable, "entries of get_states could not be read");
        }
        // It begins before now: Home Assistant answers a request that begins in its future with
        // nothing.
        let beyond = (latest > clock).then(|| Period {
            after: UtcMicros(now.0 - micros(MARGIN)),
            before: after(latest, MARGIN).min(TIME_MAX),
        });
        Ok(Current {
            events,
            // Events go on while history is read, and the clocks of the two machines differ.
            until: after(clock, MARGIN),
            beyond,
        })
    }

    /// One period of some entities; the states go on from the period before it. Returns the bytes of
    /// the largest answer.
    async fn history(
        &mut self,
        entities: &[String],
        period: Period,
        states: &mut StartStates,
        reading: &mut Reading,
    ) -> Result<usize, Stopped> {
        let mut parts = vec![entities];
        let mut bytes_max = 0;
        while let Some(part) = parts.pop() {
            while (self.behind)() {
                tokio::time::sleep(BEHIND_INTERVAL).await;
            }
            match self.answer(part, period, states).await {
                Ok((answer, bytes)) => {
                    bytes_max = bytes_max.max(bytes);
                    reading.answered += 1;
                    self.hand_over(answer, states, reading).await?;
                }
                Err(NotGiven::Refused(error)) if error.code == INVALID_ENTITY_IDS => match part {
                    [one] => {
                        tracing::warn!(
                            entity = one,
                            "Home Assistant has no history of it: it says that this is no entity"
                        );
                        self.no_entities.insert(one.clone());
                    }
                    _ => parts.extend(<[&[String]; 2]>::from(part.split_at(part.len() / 2))),
                },
                Err(error) => {
                    forget(states, part);
                    self.refused(reading, error.to_string());
                }
            }
        }
        Ok(bytes_max)
    }

    async fn hand_over(
        &self,
        answer: Answer,
        states: &mut StartStates,
        reading: &mut Reading,
    ) -> Result<(), Stopped> {
        if answer.unreadable > 0 {
            tracing::warn!(
                rows = answer.unreadable,
                "rows of Home Assistant's history could not be read"
            );
        }
        for entity in &answer.removed_first {
            tracing::debug!(
                entity,
                "removed, and the recorder does not know its state before"
            );
        }
        reading.events += answer.events.len() as u64;
        for event in answer.carry(states) {
            self.output
                .send(Backfilled::Event(event))
                .await
                .map_err(|_| Stopped)?;
        }
        Ok(())
    }

    /// The events of one request, and the bytes of its answer; for entities that it begins with a
    /// removal of, with the state that they had at the start.
    async fn answer(
        &self,
        entities: &[String],
        period: Period,
        states: &mut StartStates,
    ) -> Result<(Answer, usize), NotGiven> {
        let json = self.rows(entities, period, false).await?;
        let answer = events_of(&json, states)?;
        if answer.removed_first.is_empty() {
            return Ok((answer, json.len()));
        }
        let removed: Vec<String> = answer.removed_first.iter().cloned().collect();
        let with_start = self.rows(&removed, period, true).await?;
        states.extend(start_states_of(&with_start)?);
        Ok((events_of(&json, states)?, json.len()))
    }

    /// The recorder's rows. Asks until there is an answer.
    async fn rows(
        &self,
        entities: &[String],
        period: Period,
        include_start_time_state: bool,
    ) -> Result<Bytes, HomeAssistantError> {
        let fields = json!({
            "start_time": period.after.to_string(),
            "end_time": period.before.to_string(),
            "entity_ids": entities,
            "include_start_time_state": include_start_time_state,
            "significant_changes_only": false,
            "minimal_response": false,
            "no_attributes": false,
        });
        loop {
            let asked = self
                .requester
                .request_within(HISTORY, fields.clone(), REQUEST_TIMEOUT);
            match asked.await {
                Ok(json) => return Ok(json),
                Err(RequestError::Refused(error)) => return Err(error),
                Err(error) => self.wait_after(HISTORY, &error).await,
            }
        }
    }

    async fn wait_after(&self, command: &str, error: &RequestError) {
        tracing::debug!(command, %error, "asking again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// What came after these states is not known.
fn forget(states: &mut StartStates, entities: &[String]) {
    for entity in entities {
        states.remove(entity);
    }
}

/// Why a part of the history is not there.
#[derive(Debug, thiserror::Error)]
enum NotGiven {
    #[error(transparent)]
    Refused(#[from] HomeAssistantError),
    #[error("an answer that cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// An entry of `get_states` and its `last_updated`; none if it cannot be read.
fn current_state(json: &RawValue) -> Option<(CurrentState<'_>, UtcMicros)> {
    let state: CurrentState<'_> = serde_json::from_str(json.get()).ok()?;
    let time = UtcMicros::parse(&state.last_updated).ok()?;
    Some((state, time))
}

fn now() -> UtcMicros {
    UtcMicros(ha_pipeline::now_ns().div_euclid(1_000))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn after(time: UtcMicros, duration: Duration) -> UtcMicros {
    UtcMicros(time.0.saturating_add(micros(duration)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_filter::{Filter, FilterRules};
    use ha_simulator::{Simulator, SimulatorOptions};
    use ha_source::{Source, SourceOptions};
    use std::sync::Arc;
    use tokio::sync::mpsc::error::TryRecvError;
    use tokio_util::sync::CancellationToken;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn no_history_is_read_while_live_events_are_behind() {
        const LOOKS_BEHIND: u32 = 5;
        let home = Simulator::start(SimulatorOptions::default()).await.unwrap();
        // The first period that is asked for begins here.
        let from = ha_pipeline::now_ns() + MARGIN.as_nanos() as i64;
        home.fire(100);
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let url = home.url().parse().unwrap();
        let options = SourceOptions::new(url, home.token().into(), Arc::new(tls));
        let (source, live) = Source::new(options).unwrap();
        let requester = source.requester();
        let running = tokio::spawn(source.run(CancellationToken::new()));
        let looks = watch::Sender::new(0);
        let mut looked = looks.subscribe();
        let behind = move || {
            looks.send_modify(|looks| *looks += 1);
            *looks.borrow() <= LOOKS_BEHIND
        };
        let gap = Gap {
            number: 1,
            from: Some(from),
        };
        let (_gaps, gaps) = watch::channel(gap);
        let (output, mut backfilled) = mpsc::channel(1);
        let filter = Filter::new(FilterRules::default()).unwrap();
        let filtering = Filtering::new(filter, []);
        let filling = tokio::spawn(fill_gaps(
            requester,
            gaps,
            filtering,
            behind,
            OpenGap::default(),
            output,
        ));

        let last_look = looked.wait_for(|look| *look == LOOKS_BEHIND);
        let last_look = tokio::time::timeout(DEADLINE, last_look).await.unwrap();
        drop(last_look.unwrap());
        assert_eq!(backfilled.try_recv().unwrap_err(), TryRecvError::Empty);
        let first = tokio::time::timeout(DEADLINE, backfilled.recv());
        let Some(Backfilled::Event(_)) = first.await.unwrap() else {
            panic!("history had an event");
        };
        filling.abort();
        running.abort();
        drop(live);
        home.shutdown().await;
    }
}
