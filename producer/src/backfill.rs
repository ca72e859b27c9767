//! Gap fill: after a gap, what Home Assistant's recorder kept of it comes in as events of the
//! origin `backfill`, through the same filter and frames as live ones.
//!
//! History is read from a minute before the gap, and again half a minute after the connection,
//! because the recorder commits late; then the current states, for what the recorder leaves out.
//! Reading too much is harmless: the same event twice is one point.

mod history;

use crate::intake::Filtering;
use bytes::Bytes;
use ha_event::UtcMicros;
use ha_source::{RequestError, Requester};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

pub use history::events_of;

/// Events of history are as late as this by the source's own clock.
const MARGIN: Duration = Duration::from_secs(60);

/// The recorder's default commit interval is 5 s; a busy database takes longer.
const SECOND_READING_AFTER: Duration = Duration::from_secs(30);

/// One request covers so many entities and so long a time, so that an answer stays small.
const ENTITIES_A_REQUEST: usize = 50;
const WINDOW: Duration = Duration::from_secs(3_600);

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

/// A gap to fill, numbered; the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gap {
    /// Counts gaps; 0 is none.
    pub number: u64,
    /// Where it begins.
    pub from: i64,
}

/// Fills gaps for as long as the process runs. A new gap, which includes the old one, replaces it.
pub async fn fill_gaps(
    requester: Requester,
    mut gaps: watch::Receiver<Gap>,
    filtering: Filtering,
    output: mpsc::Sender<Backfilled>,
) {
    loop {
        let gap = *gaps.borrow_and_update();
        if gap.number > 0 {
            let filler = Filler {
                requester: &requester,
                filtering: &filtering,
                output: &output,
            };
            tokio::select! {
                () = filler.fill(gap) => {}
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
    output: &'a mpsc::Sender<Backfilled>,
}

/// The framer is gone: the process ends.
struct Stopped;

impl Filler<'_> {
    async fn fill(&self, gap: Gap) {
        let margin_us = MARGIN.as_micros() as i64;
        let from = UtcMicros(gap.from / 1_000 - margin_us);
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
        let _ = self.output.send(Backfilled::Done(gap.number)).await;
    }

    /// One reading of history and current states.
    async fn read(&self, from: UtcMicros) -> Result<u64, Stopped> {
        let mut events = 0;
        let (current, until) = loop {
            match self
                .requester
                .request_within("get_states", json!(null), REQUEST_TIMEOUT)
                .await
            {
                Ok(json) => match self.current(&json) {
                    Ok(current) => break current,
                    Err(error) => {
                        tracing::warn!(%error, "get_states could not be read");
                        return Ok(0);
                    }
                },
                // A new connection replaces this filling; until then there is time.
                Err(error) => self.wait_after("get_states", &error).await,
            }
        };
        let known: BTreeSet<String> = current
            .iter()
            .map(|event| event.entity_id.clone())
            .chain(self.filtering.seen_entities())
            .collect();
        let known: Vec<String> = known.into_iter().collect();
        let mut start = from;
        while start < until {
            let end = UtcMicros(until.0.min(start.0 + WINDOW.as_micros() as i64));
            for entities in known.chunks(ENTITIES_A_REQUEST) {
                events += self.history(entities, start, end).await?;
            }
            start = end;
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

    /// The kept entities' current states, and a time after all of them.
    fn current(
        &self,
        json: &Bytes,
    ) -> Result<(Vec<BackfilledEvent>, UtcMicros), serde_json::Error> {
        let states: Vec<CurrentState<'_>> = serde_json::from_slice(json)?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut newest = UtcMicros(now.unwrap_or_default().as_micros() as i64);
        let mut events = Vec::with_capacity(states.len());
        for state in states {
            let Ok(time) = UtcMicros::parse(&state.last_updated) else {
                continue;
            };
            newest = newest.max(time);
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
        // Events go on while this is read, and the clocks of the two machines differ.
        Ok((events, UtcMicros(newest.0 + MARGIN.as_micros() as i64)))
    }

    async fn history(
        &self,
        entities: &[String],
        start: UtcMicros,
        end: UtcMicros,
    ) -> Result<u64, Stopped> {
        let fields = json!({
            "start_time": start.to_string(),
            "end_time": end.to_string(),
            "entity_ids": entities,
            "include_start_time_state": false,
            "significant_changes_only": false,
            "minimal_response": false,
            "no_attributes": false,
        });
        let command = "history/history_during_period";
        let json = loop {
            let asked = self
                .requester
                .request_within(command, fields.clone(), REQUEST_TIMEOUT);
            match asked.await {
                Ok(json) => break json,
                Err(RequestError::Refused(error)) => {
                    tracing::warn!(%error, "Home Assistant gives no history; is the history integration on?");
                    return Ok(0);
                }
                Err(error) => self.wait_after(command, &error).await,
            }
        };
        let events = match events_of(&json) {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(%error, "history could not be read");
                return Ok(0);
            }
        };
        let count = events.len() as u64;
        for event in events {
            self.output
                .send(Backfilled::Event(event))
                .await
                .map_err(|_| Stopped)?;
        }
        Ok(count)
    }

    async fn wait_after(&self, command: &str, error: &RequestError) {
        tracing::debug!(command, %error, "asking again");
        tokio::time::sleep(PAUSE).await;
    }
}
