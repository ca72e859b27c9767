//! Replay of a capture: real messages again, with the times of now or byte for byte.

use std::{collections::HashMap, io, path::Path, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    history::Row,
    inject_error::InjectError,
    json::push_time,
    ledger::Record,
    machine::{Batch, NewState, StateMachine},
};

/// Captured events in their order. Cheap to clone; each clone begins at the first event.
///
/// With fresh times an event's new state gets the time of its firing as `last_updated`, as
/// `last_changed` too if the two were equal in the capture, and the old state is the entity's
/// previous new state. So the chain holds across loops, where it does not hold in the capture: there
/// `last_changed` follows Home Assistant's rule, that is the state's text decides.
#[derive(Debug, Clone)]
pub struct Replay {
    events: Arc<[Captured]>,
    /// Microseconds from the first event on, of each; they never fall.
    offsets_us: Arc<[u64]>,
    skipped: usize,
    next: usize,
    looping: bool,
    verbatim: bool,
    /// How many times as fast as it was captured; `None`: at the rate that is asked for.
    speed: Option<f64>,
}

#[derive(Debug)]
enum Captured {
    StateChanged {
        entity_id: String,
        old_state: Option<CapturedState>,
        new_state: Option<CapturedState>,
        context: String,
        original: String,
    },
    /// Split where the time of firing goes.
    Other {
        event_type: String,
        before_time: String,
        after_time: String,
        original: String,
    },
}

#[derive(Debug, PartialEq)]
struct CapturedState {
    state: String,
    attributes: Arc<str>,
    changed: bool,
}

/// What one step of a replay did.
pub(crate) enum Delivery {
    StateChanged,
    Other { event_type: String, json: String },
    Ended,
}

/// A capture that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("cannot read the capture: {0}")]
    Read(#[from] io::Error),
    /// A line is not JSON, or an event is not shaped as Home Assistant's are.
    #[error("line {line} of the capture: {error}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// There is not one event in it.
    #[error("the capture holds no events")]
    Empty,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    event_type: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    event_type: String,
    #[serde(borrow)]
    data: &'a RawValue,
    origin: Option<String>,
    time_fired: Option<String>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawChange<'a> {
    entity_id: String,
    #[serde(borrow)]
    old_state: Option<RawState<'a>>,
    #[serde(borrow)]
    new_state: Option<RawState<'a>>,
}

#[derive(Deserialize)]
struct RawState<'a> {
    state: String,
    #[serde(borrow)]
    attributes: &'a RawValue,
    last_changed: String,
    last_updated: String,
}

impl Replay {
    /// Reads a file of JSON lines: whole messages, arrays of messages or bare events. Messages that
    /// are not events (results, pongs) are skipped; blank lines too.
    ///
    /// # Errors
    /// If the file cannot be read, a line is not such JSON, or there is no event.
    pub fn read(path: &Path) -> Result<Self, ReplayError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// As [`Replay::read`], from text.
    ///
    /// # Errors
    /// If a line is not JSON or not shaped as an event, or there is no event.
    pub fn parse(lines: &str) -> Result<Self, ReplayError> {
        let mut capture = Capture::default();
        for (index, line) in lines
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            capture.read_line(line).map_err(|error| ReplayError::Line {
                line: index + 1,
                error,
            })?;
        }
        if capture.events.is_empty() {
            return Err(ReplayError::Empty);
        }
        Ok(Self {
            offsets_us: offsets_us(&capture.times_us),
            events: capture.events.into(),
            skipped: capture.skipped,
            next: 0,
            looping: false,
            verbatim: false,
            speed: None,
        })
    }

    /// Begins again after the last event, for ever.
    #[must_use]
    pub fn looping(self) -> Self {
        Self {
            looping: true,
            ..self
        }
    }

    /// Fires the captured bytes of the events, times included: the ledger then holds the captured
    /// times, and a second pass would fire the same (entity, time) again.
    #[must_use]
    pub fn verbatim(self) -> Self {
        Self {
            verbatim: true,
            ..self
        }
    }

    /// At the capture's own pace, by `time_fired`, this many times as fast; the rate means nothing
    /// then. Once through: it does not loop.
    #[must_use]
    pub fn at_own_pace(self, speed: f64) -> Self {
        Self {
            speed: Some(speed),
            looping: false,
            ..self
        }
    }

    /// From its first event to its last, at its own pace.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        let last_us = self.offsets_us.last().copied().unwrap_or_default();
        Duration::from_micros(last_us).div_f64(self.speed.unwrap_or(1.0))
    }

    /// Number of events due this long after the beginning; `None` unless it has its own pace.
    pub(crate) fn due(&self, elapsed: Duration) -> Option<u64> {
        let elapsed_us = elapsed.as_micros() as f64 * self.speed?;
        let due = self
            .offsets_us
            .partition_point(|offset| *offset as f64 <= elapsed_us);
        Some(due as u64)
    }

    /// Whether every event has been fired, and none comes again.
    pub(crate) fn is_over(&self) -> bool {
        !self.looping && self.next == self.events.len()
    }

    /// Number of events in the capture.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Messages in the capture that are not events.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    pub(crate) fn fire(
        &mut self,
        machine: &mut StateMachine,
        time_us: i64,
        batch: &mut Batch,
    ) -> Delivery {
        if self.next == self.events.len() {
            if !self.looping {
                return Delivery::Ended;
            }
            self.next = 0;
        }
        let captured = &self.events[self.next];
        self.next += 1;
        match captured {
            Captured::Other {
                event_type,
                before_time,
                after_time,
                original,
            } => {
                let mut json = before_time.clone();
                if self.verbatim {
                    json.clone_from(original);
                } else {
                    push_time(&mut json, time_us);
                    json.push_str(after_time);
                }
                Delivery::Other {
                    event_type: event_type.clone(),
                    json,
                }
            }
            Captured::StateChanged { original, .. } if self.verbatim => {
                match record_verbatim(original, machine, batch) {
                    Ok(()) => Delivery::StateChanged,
                    // It was parsed when the capture was read; its times may still be rubbish.
                    Err(_) => Delivery::Other {
                        event_type: "state_changed".to_owned(),
                        json: original.clone(),
                    },
                }
            }
            Captured::StateChanged {
                entity_id,
                old_state,
                new_state,
                context,
                ..
            } => {
                let entity = machine.intern(entity_id);
                let chain_holds = match (machine.current(entity), old_state) {
                    (Some((state, attributes)), Some(old)) => {
                        old.state == state && old.attributes == *attributes
                    }
                    (None, None) => true,
                    _ => false,
                };
                let new = new_state.as_ref().map(|new| NewState {
                    state: &new.state,
                    attributes: &new.attributes,
                    changed: chain_holds.then_some(new.changed),
                });
                machine.change(entity, new.as_ref(), time_us, context, batch);
                Delivery::StateChanged
            }
        }
    }
}

/// Times that fall are taken for the one before them.
fn offsets_us(times_us: &[i64]) -> Arc<[u64]> {
    let first = times_us.first().copied().unwrap_or_default();
    let mut latest = 0;
    let offsets = times_us.iter().map(|time| {
        latest = latest.max(time.saturating_sub(first).max(0).cast_unsigned());
        latest
    });
    offsets.collect()
}

#[derive(Default)]
struct Capture {
    events: Vec<Captured>,
    /// When each was fired, microseconds since the epoch; that of the one before where it does not
    /// say.
    times_us: Vec<i64>,
    skipped: usize,
    /// Equal attributes are kept once.
    attributes: HashMap<String, Arc<str>>,
}

impl Capture {
    fn read_line(&mut self, line: &str) -> Result<(), serde_json::Error> {
        if line.trim_start().starts_with('[') {
            for message in serde_json::from_str::<Vec<&RawValue>>(line)? {
                self.read_message(message.get())?;
            }
            return Ok(());
        }
        self.read_message(line)
    }

    fn read_message(&mut self, json: &str) -> Result<(), serde_json::Error> {
        let message: RawMessage<'_> = serde_json::from_str(json)?;
        let event = match (message.event, message.event_type) {
            (Some(event), _) => event.get(),
            (None, Some(_)) => json.trim(),
            (None, None) => {
                self.skipped += 1;
                return Ok(());
            }
        };
        let captured = self.read_event(event)?;
        self.events.push(captured);
        Ok(())
    }

    fn read_event(&mut self, json: &str) -> Result<Captured, serde_json::Error> {
        let event: RawEvent<'_> = serde_json::from_str(json)?;
        let time = event.time_fired.as_deref().unwrap_or_default();
        let time_us = time.parse::<jiff::Timestamp>().ok();
        let before = self.times_us.last().copied().unwrap_or_default();
        self.times_us
            .push(time_us.map_or(before, jiff::Timestamp::as_microsecond));
        let context = event.context.map_or("null", RawValue::get).to_owned();
        let original = json.to_owned();
        if event.event_type == "state_changed" {
            let change: RawChange<'_> = serde_json::from_str(event.data.get())?;
            return Ok(Captured::StateChanged {
                entity_id: change.entity_id,
                old_state: change.old_state.map(|state| self.keep(state)),
                new_state: change.new_state.map(|state| self.keep(state)),
                context,
                original,
            });
        }
        let RawEvent {
            event_type,
            data,
            origin,
            ..
        } = event;
        let name = serde_json::Value::from(event_type.as_str());
        let origin = serde_json::Value::from(origin.unwrap_or_else(|| "LOCAL".to_owned()));
        Ok(Captured::Other {
            before_time: format!(
                r#"{{"event_type":{name},"data":{data},"origin":{origin},"time_fired":""#
            ),
            after_time: format!(r#"","context":{context}}}"#),
            event_type,
            original,
        })
    }

    fn keep(&mut self, state: RawState<'_>) -> CapturedState {
        let text = state.attributes.get();
        let attributes = match self.attributes.get(text) {
            Some(attributes) => attributes.clone(),
            None => {
                let attributes: Arc<str> = text.into();
                self.attributes.insert(text.to_owned(), attributes.clone());
                attributes
            }
        };
        let changed = state.last_changed == state.last_updated;
        CapturedState {
            state: state.state,
            attributes,
            changed,
        }
    }
}

/// Appends a `state_changed` event with its own bytes and times, and keeps its new state.
pub(crate) fn record_verbatim(
    json: &str,
    machine: &mut StateMachine,
    batch: &mut Batch,
) -> Result<(), InjectError> {
    let invalid = |error: serde_json::Error| InjectError(error.to_string());
    let event: RawEvent<'_> = serde_json::from_str(json).map_err(invalid)?;
    if event.event_type != "state_changed" {
        return Err(InjectError(format!("its type is {}", event.event_type)));
    }
    let change: RawChange<'_> = serde_json::from_str(event.data.get()).map_err(invalid)?;
    let micros = |text: &str| {
        let parsed = text.parse::<jiff::Timestamp>();
        parsed
            .map(jiff::Timestamp::as_microsecond)
            .map_err(|error| InjectError(error.to_string()))
    };
    let entity = machine.intern(&change.entity_id);
    let Some(new) = change.new_state else {
        let time_us = micros(event.time_fired.as_deref().unwrap_or_default())?;
        let row = Row {
            entity,
            state: None,
            attributes: "{}".into(),
            last_updated_us: time_us,
            last_changed_us: time_us,
        };
        machine.forget(entity);
        batch.push_verbatim(json, row, Record::new(entity, time_us, None));
        return Ok(());
    };
    let row = Row {
        entity,
        state: Some(new.state.as_str().into()),
        attributes: new.attributes.get().into(),
        last_updated_us: micros(&new.last_updated)?,
        last_changed_us: micros(&new.last_changed)?,
    };
    let context = event.context.map_or("null", RawValue::get);
    machine.adopt(&row, context);
    let record = Record::new(entity, row.last_updated_us, row.state.clone());
    batch.push_verbatim(json, row, record);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(seconds: &[f64]) -> Replay {
        let lines = seconds.iter().map(|second| {
            format!(
                r#"{{"event_type":"tick","data":{{}},"time_fired":"2026-11-21T21:42:{second:09.6}+00:00"}}"#
            )
        });
        Replay::parse(&lines.collect::<Vec<_>>().join("\n")).unwrap()
    }

    #[test]
    fn its_own_pace_is_that_of_the_times_of_firing() {
        // The third was written down late.
        let replay = capture(&[1.0, 3.0, 2.5, 5.0]);
        assert_eq!(replay.due(Duration::from_secs(9)), None, "at a rate");
        let replay = replay.at_own_pace(2.0);
        assert_eq!(replay.lasts(), Duration::from_secs(2));
        for (ms, due) in [
            (0, 1),
            (999, 1),
            (1_000, 3),
            (1_999, 3),
            (2_000, 4),
            (9_000, 4),
        ] {
            assert_eq!(replay.due(Duration::from_millis(ms)), Some(due), "{ms} ms");
        }
    }
}
