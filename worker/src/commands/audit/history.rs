//! Home Assistant's own history, against the database.
//!
//! Rows are asked for as gap fill asks for them: every row of the recorder and none made up
//! (<https://developers.home-assistant.io/docs/api/websocket>, `history/history_during_period`).

use super::database::{Database, States, Window};
use crate::commands::moment::to_microsecond;
use crate::commands::terminal::count_of;
use anyhow::{Context, bail};
use ha_event::UtcMicros;
use ha_filter::Filter;
use ha_settings::{HomeAssistantSettings, TlsSettings};
use ha_source::{ConnectionState, Requester, Source, SourceOptions};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Entities of one request, and the time that it covers: together they bound an answer.
const ENTITIES_MAX: usize = 50;
const SLICE_NS: i64 = 3_600_000_000_000;

/// The recorder of a large home can take long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// States that are printed.
const EXAMPLES_MAX: usize = 20;

/// An event type that nothing fires: the connection is for questions only.
const NO_EVENTS: &str = "ha_ingestor_audit";

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Compared {
    /// States in Home Assistant's history.
    pub states: u64,
    /// Those without a point at their microsecond.
    pub missing: u64,
    /// Those whose point holds another state.
    pub different: u64,
    examples: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Row {
    /// Null for a removal.
    s: Option<String>,
    /// Seconds since the epoch.
    lu: f64,
}

#[derive(Deserialize)]
struct CurrentState {
    entity_id: String,
}

/// Compares every state of the window.
pub(super) async fn compare(
    settings: &HomeAssistantSettings,
    tls: &TlsSettings,
    filter: &Filter,
    database: &Database,
    instance: &str,
    window: Window,
) -> anyhow::Result<Compared> {
    let token = settings.token.reveal().into();
    let mut options = SourceOptions::new(settings.url.clone(), token, Arc::clone(&tls.client));
    options.event_types = vec![NO_EVENTS.to_owned()];
    let (source, mut events) = Source::new(options)?;
    let (requester, mut state) = (source.requester(), source.state());
    let stop = CancellationToken::new();
    let running = tokio::spawn(source.run(stop.clone()));
    let discarding = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, async {
        let decided = state.wait_for(|state| {
            matches!(
                state,
                ConnectionState::Connected { .. } | ConnectionState::AuthInvalid { .. }
            )
        });
        match &*decided.await? {
            ConnectionState::AuthInvalid { message } => {
                bail!("HOME_ASSISTANT_TOKEN is refused: {message}")
            }
            _ => Ok(()),
        }
    });
    let connected = connected
        .await
        .context("HOME_ASSISTANT_URL: no connection to Home Assistant");
    let compared = match connected.and_then(|connected| connected) {
        Ok(()) => all(&requester, filter, database, instance, window).await,
        Err(error) => Err(error),
    };
    stop.cancel();
    let _ = running.await;
    let _ = discarding.await;
    compared
}

async fn all(
    requester: &Requester,
    filter: &Filter,
    database: &Database,
    instance: &str,
    window: Window,
) -> anyhow::Result<Compared> {
    let answer = requester
        .request_within("get_states", json!(null), ANSWER_TIMEOUT)
        .await?;
    let current: Vec<CurrentState> = serde_json::from_slice(&answer).context("get_states")?;
    // Those that were removed since have a history too.
    let mut entities: BTreeSet<String> = database.entities(window, instance).await?;
    entities.extend(current.into_iter().map(|state| state.entity_id));
    entities.retain(|entity| filter.decide(entity).is_ok());
    let entities: Vec<&str> = entities.iter().map(String::as_str).collect();
    let mut compared = Compared::default();
    for some in entities.chunks(ENTITIES_MAX) {
        let mut since_ns = window.since_ns;
        while since_ns < window.until_ns {
            let until_ns = since_ns.saturating_add(SLICE_NS).min(window.until_ns);
            let slice = Window { since_ns, until_ns };
            // The history first: a point that is written between the two is not missing.
            let history = rows(requester, some, slice).await?;
            let states = database.states(slice, instance, some).await?;
            compared.add(slice, &history, &states);
            since_ns = until_ns;
        }
    }
    Ok(compared)
}

async fn rows(
    requester: &Requester,
    entities: &[&str],
    window: Window,
) -> anyhow::Result<HashMap<String, Vec<Row>>> {
    let fields = json!({
        // A row at the very start is not of the period.
        "start_time": to_microsecond(window.since_ns.saturating_sub(1_000)),
        "end_time": to_microsecond(window.until_ns),
        "entity_ids": entities,
        "include_start_time_state": false,
        "significant_changes_only": false,
        "minimal_response": false,
        "no_attributes": true,
    });
    let command = "history/history_during_period";
    let answer = requester
        .request_within(command, fields, ANSWER_TIMEOUT)
        .await?;
    serde_json::from_slice(&answer).context(command)
}

impl Compared {
    fn add(&mut self, slice: Window, history: &HashMap<String, Vec<Row>>, states: &States) {
        for (entity, rows) in history {
            for row in rows {
                let Some(UtcMicros(time_us)) = UtcMicros::from_seconds(row.lu) else {
                    self.missing += 1;
                    self.note(|| format!("{entity}: {} is no time", row.lu));
                    continue;
                };
                // The next slice begins where this one ends.
                if !(slice.since_ns..slice.until_ns).contains(&time_us.saturating_mul(1_000)) {
                    continue;
                }
                self.states += 1;
                let stored = states.get(entity).and_then(|times| times.get(&time_us));
                let at = to_microsecond(time_us.saturating_mul(1_000));
                let state = row.s.as_deref();
                match stored {
                    None => {
                        self.missing += 1;
                        self.note(|| format!("{entity} at {at}, state {state:?}: not stored"));
                    }
                    Some(stored) if stored.as_deref() == state => {}
                    Some(stored) => {
                        self.different += 1;
                        self.note(|| {
                            format!("{entity} at {at}, state {state:?}: stored {stored:?}")
                        });
                    }
                }
            }
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }

    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "Home Assistant's history: {}, {} missing, {} stored with another state",
            count_of(self.states, "state"),
            self.missing,
            self.different
        )?;
        self.examples
            .iter()
            .try_for_each(|example| writeln!(out, "  {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_stamp_with_more_than_six_decimals_is_read_as_home_assistant_reads_it() {
        let rows = r#"{"sensor.a": [{"s": "1", "lu": 1795300129.7875555}]}"#;
        let history = serde_json::from_str(rows).unwrap();
        let stored = HashMap::from([(1_795_300_129_787_555, Some("1".to_owned()))]);
        let states = HashMap::from([("sensor.a".to_owned(), stored)]);
        let slice = Window {
            since_ns: 0,
            until_ns: i64::MAX,
        };
        let mut compared = Compared::default();
        compared.add(slice, &history, &states);
        assert_eq!((compared.states, compared.missing), (1, 0), "{compared:?}");
    }
}
