//! Gap fill: after a gap, what Home Assistant's recorder kept of it comes in as events of the
//! origin `backfill`, through the same filter and frames as live ones.
//!
//! History is read from a minute before the gap, and again half a minute after the connection,
//! because the recorder commits late; then the current states, for what the recorder leaves out.
//! Reading too much is harmless: the same event twice is one point. History comes in small pieces
//! and only while live events are not behind: a home cuts off a client that falls behind, and what
//! is missing then is a longer gap.

mod history;
mod periods;

use crate::intake::Filtering;
use bytes::Bytes;
use ha_event::UtcMicros;
use ha_source::{RequestError, Requester};
use periods::{Period, Periods};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

pub use history::{Answer, StartStates, events_of, start_states_of};

/// Events of history are as late as this by the source's own clock.
const MARGIN: Duration = Duration::from_secs(60);

/// The recorder's default commit interval is 5 s; a busy database takes longer.
const SECOND_READING_AFTER: Duration = Duration::from_secs(30);

/// One request covers so many entities, and a time that keeps an answer small ([`Periods`]).
const ENTITIES_A_REQUEST: usize = 50;

/// How often it is looked whether live events are still behind.
const BEHIND_INTERVAL: Duration = Duration::from_millis(100);

/// Home Assistant's database may be slow.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits this long after a request that failed.
const PAUSE: Duration = Duration::from_secs(2);

/// An event that did not come over the subscription.
#[derive(Debug)]
pub struct BackfilledEvent {
    /// Its entity.
    pub entity_id: String,
    /// Its source time.
    pub time: UtcMicros,
    /// A `state_changed` event as Home Assistant would have sent it.
    pub json: Bytes,
}

/// What gap fill hands to the framer.
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
/// Nothing is asked for while live events are `behind`.
pub async fn fill_gaps(
    requester: Requester,
    mut gaps: watch::Receiver<Gap>,
    filtering: Filtering,
    behind: impl Fn() -> bool + Sync,
    output: mpsc::Sender<Backfilled>,
) {
    loop {
        let gap = *gaps.borrow_and_update();
        if gap.number > 0 {
            let filler = Filler {
                requester: &requester,
                filtering: &filtering,
                behind: &behind,
                output: &output,
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
    output: &'a mpsc::Sender<Backfilled>,
}

/// The framer is gone: the process ends.
struct Stopped;

/// What an answer had.
#[derive(Default)]
struct Read {
    events: u64,
    bytes: usize,
}

impl Filler<'_> {
    async fn fill(&self, number: u64, from_ns: i64) {
        let margin_us = MARGIN.as_micros() as i64;
        let from = UtcMicros(from_ns / 1_000 - margin_us);
        tracing::info!(from = %from, "filling the gap from Home Assistant's history");
        let connected = tokio::time::Instant::now();
        for reading in 0..2 {
            if reading == 1 {
                tokio::time::sleep_until(connected + SECOND_READING_AFTER).await;
            }
            match self.read(from).await {
                Ok(events) => tracing::info!(events, reading = reading + 1, "history was read"),
                Err(Stopped) => return,
            }
        }
        let _ = self.output.send(Backfilled::Done(number)).await;
    }

    /// One reading of history and current states.
    async fn read(&self, from: UtcMicros) -> Result<u64, Stopped> {
        let mut events = 0;
        let (current, until) = self.current_states().await;
        // Those that are no more, too: they were removed in the gap.
        let known: Vec<String> = self.filtering.known_entities().into_iter().collect();
        let mut periods = Periods::new(from, until);
        let mut states = StartStates::new();
        while let Some(period) = periods.next() {
            let mut bytes_max = 0;
            for entities in known.chunks(ENTITIES_A_REQUEST) {
                let read = self.history(entities, period, &mut states).await?;
                events += read.events;
                bytes_max = bytes_max.max(read.bytes);
            }
            periods.adapt(bytes_max);
        }
        // What the recorder leaves out still has its last state.
        for event in current.into_iter().filter(|event| event.time >= from) {
            events += 1;
            self.output
                .send(Backfilled::Event(event))
                .await
                .map_err(|_| Stopped)?;
        }
        Ok(events)
    }

    /// The kept entities' current states, whose names are remembered, and a time after all of them.
    async fn current_states(&self) -> (Vec<BackfilledEvent>, UtcMicros) {
        loop {
            let asked = self
                .requester
                .request_within("get_states", json!(null), REQUEST_TIMEOUT);
            match asked.await {
                Ok(json) => match self.read_current(&json) {
                    Ok((current, until)) => {
                        let entities = current.iter().map(|event| event.entity_id.as_str());
                        self.filtering.learn_entities(entities);
                        return (current, until);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "get_states could not be read");
                        return (Vec::new(), after_now());
                    }
                },
                // A new connection replaces this filling; until then there is time.
                Err(error) => self.wait_after("get_states", &error).await,
            }
        }
    }

    fn read_current(
        &self,
        json: &Bytes,
    ) -> Result<(Vec<BackfilledEvent>, UtcMicros), serde_json::Error> {
        let states: Vec<CurrentState<'_>> = serde_json::from_slice(json)?;
        let mut until = after_now();
        let mut events = Vec::with_capacity(states.len());
        for state in states {
            let Ok(time) = UtcMicros::parse(&state.last_updated) else {
                continue;
            };
            until = until.max(after(time));
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
        Ok((events, until))
    }

    /// One period; the states go on from the one before it.
    async fn history(
        &self,
        entities: &[String],
        period: Period,
        states: &mut StartStates,
    ) -> Result<Read, Stopped> {
        while (self.behind)() {
            tokio::time::sleep(BEHIND_INTERVAL).await;
        }
        let Some(json) = self.rows(entities, period, false).await else {
            forget(states, entities);
            return Ok(Read::default());
        };
        let bytes = json.len();
        let answer = match self.events(&json, period, states).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "history could not be read");
                forget(states, entities);
                return Ok(Read { events: 0, bytes });
            }
        };
        drop(json);
        for entity in &answer.removed_first {
            tracing::debug!(
                entity,
                "removed, and the recorder does not know its state before"
            );
        }
        let events = answer.events.len() as u64;
        for event in answer.carry(states) {
            self.output
                .send(Backfilled::Event(event))
                .await
                .map_err(|_| Stopped)?;
        }
        Ok(Read { events, bytes })
    }

    /// The events of an answer; for entities that it begins with a removal of, with the state that
    /// they had at the start.
    async fn events(
        &self,
        json: &Bytes,
        period: Period,
        states: &mut StartStates,
    ) -> Result<Answer, serde_json::Error> {
        let answer = events_of(json, states)?;
        if answer.removed_first.is_empty() {
            return Ok(answer);
        }
        let removed: Vec<String> = answer.removed_first.iter().cloned().collect();
        match self.rows(&removed, period, true).await {
            Some(with_start) => {
                states.extend(start_states_of(&with_start)?);
                events_of(json, states)
            }
            None => Ok(answer),
        }
    }

    /// The recorder's rows; none if Home Assistant refuses.
    async fn rows(
        &self,
        entities: &[String],
        period: Period,
        include_start_time_state: bool,
    ) -> Option<Bytes> {
        let fields = json!({
            "start_time": period.after.to_string(),
            "end_time": period.before.to_string(),
            "entity_ids": entities,
            "include_start_time_state": include_start_time_state,
            "significant_changes_only": false,
            "minimal_response": false,
            "no_attributes": false,
        });
        let command = "history/history_during_period";
        loop {
            let asked = self
                .requester
                .request_within(command, fields.clone(), REQUEST_TIMEOUT);
            match asked.await {
                Ok(json) => return Some(json),
                Err(RequestError::Refused(error)) => {
                    tracing::warn!(%error, "Home Assistant gives no history; is the history integration on?");
                    return None;
                }
                Err(error) => self.wait_after(command, &error).await,
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

/// Events go on while history is read, and the clocks of the two machines differ.
fn after(time: UtcMicros) -> UtcMicros {
    UtcMicros(time.0 + MARGIN.as_micros() as i64)
}

fn after_now() -> UtcMicros {
    after(UtcMicros(ha_pipeline::now_ns().div_euclid(1_000)))
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
        let filling = tokio::spawn(fill_gaps(requester, gaps, filtering, behind, output));

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
