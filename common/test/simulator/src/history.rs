//! The simulated recorder: what `history/history_during_period` answers.
//!
//! After Home Assistant's `components/recorder/history/modern.py` and
//! `components/history/websocket_api.py`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    json::{push_seconds, push_string},
    ledger::StateText,
};

/// Domains whose attribute changes count as significant.
const SIGNIFICANT_DOMAINS: [&str; 5] = [
    "climate",
    "device_tracker",
    "humidifier",
    "thermostat",
    "water_heater",
];
/// Domains that a minimal response gives in full anyway.
const NEED_ATTRIBUTE_DOMAINS: [&str; 5] = [
    "climate",
    "humidifier",
    "input_datetime",
    "thermostat",
    "water_heater",
];

/// A recorded state; a removal has none.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) entity: u32,
    pub(crate) state: Option<StateText>,
    pub(crate) attributes: Arc<str>,
    pub(crate) last_updated_us: i64,
    pub(crate) last_changed_us: i64,
}

/// The recorder's rows, the newest `rows_max` of them.
#[derive(Debug)]
pub(crate) struct History {
    rows_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_entity: HashMap<u32, VecDeque<Row>>,
    /// The entities of all rows in the order of recording: who drops a row next.
    order: VecDeque<u32>,
    /// The time of the first row ever: no start row is made up for a start before it.
    oldest_us: Option<i64>,
}

/// A request, times in microseconds since the epoch.
#[derive(Debug, Clone)]
pub(crate) struct Period {
    pub(crate) start_us: i64,
    pub(crate) end_us: Option<i64>,
    /// Rows from this time on are not committed yet.
    pub(crate) committed_until_us: i64,
    pub(crate) include_start_time_state: bool,
    pub(crate) significant_changes_only: bool,
    pub(crate) minimal_response: bool,
    pub(crate) no_attributes: bool,
}

impl History {
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            rows_max: rows_max.max(1),
            inner: Mutex::default(),
        }
    }

    /// Takes all of `rows`.
    pub(crate) fn append(&self, rows: &mut Vec<Row>) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        for row in rows.drain(..) {
            inner.oldest_us.get_or_insert(row.last_updated_us);
            inner.order.push_back(row.entity);
            inner
                .by_entity
                .entry(row.entity)
                .or_default()
                .push_back(row);
        }
        while inner.order.len() > self.rows_max {
            if let Some(entity) = inner.order.pop_front() {
                inner
                    .by_entity
                    .get_mut(&entity)
                    .and_then(VecDeque::pop_front);
            }
        }
    }

    /// The answer's `result`: rows by entity, entities without rows left out.
    pub(crate) fn during_period(
        &self,
        period: &Period,
        entities: &[(String, Option<u32>)],
    ) -> String {
        let mut out = String::from("{");
        for (entity_id, entity) in entities {
            let Some(entity) = entity else { continue };
            // The lock is held for one entity at a time: firing must not wait for a long answer.
            let rows = self.select(period, entity_id, *entity);
            if rows.is_empty() {
                continue;
            }
            if out.len() > 1 {
                out.push(',');
            }
            push_string(&mut out, entity_id);
            out.push_str(":[");
            push_rows(&mut out, &rows, period, domain_of(entity_id));
            out.push(']');
        }
        out.push('}');
        out
    }

    /// The rows of one entity. The row that is made up for the start has its time set to it.
    fn select(&self, period: &Period, entity_id: &str, entity: u32) -> Vec<Row> {
        let inner = self.lock();
        let Some(rows) = inner.by_entity.get(&entity) else {
            return Vec::new();
        };
        let until_us = period
            .end_us
            .unwrap_or(i64::MAX)
            .min(period.committed_until_us);
        let from = rows.partition_point(|row| row.last_updated_us <= period.start_us);
        let mut selected = Vec::new();
        let has_older = inner
            .oldest_us
            .is_some_and(|oldest| oldest < period.start_us);
        if period.include_start_time_state && has_older {
            let before = rows.partition_point(|row| row.last_updated_us < period.start_us);
            let start = before.checked_sub(1).and_then(|last| rows.get(last));
            selected.extend(start.map(|row| Row {
                last_updated_us: period.start_us,
                last_changed_us: period.start_us,
                ..row.clone()
            }));
        }
        let attributes_count = SIGNIFICANT_DOMAINS.contains(&domain_of(entity_id));
        selected.extend(
            rows.range(from..)
                .take_while(|row| row.last_updated_us < until_us)
                .filter(|row| {
                    !period.significant_changes_only
                        || attributes_count
                        || row.last_changed_us == row.last_updated_us
                })
                .cloned(),
        );
        selected
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push_rows(out: &mut String, rows: &[Row], period: &Period, domain: &str) {
    let minimal = period.minimal_response && !NEED_ATTRIBUTE_DOMAINS.contains(&domain);
    let mut previous: Option<&Option<StateText>> = None;
    for row in rows {
        let first = previous.is_none();
        if minimal && previous == Some(&row.state) {
            continue;
        }
        previous = Some(&row.state);
        if !first {
            out.push(',');
        }
        out.push_str(r#"{"s":"#);
        match &row.state {
            Some(state) => push_string(out, state.as_str()),
            None => out.push_str("null"),
        }
        let full = !minimal || first;
        if full && !(period.no_attributes && minimal) {
            out.push_str(r#","a":"#);
            // Without attributes the recorder still sends the key.
            out.push_str(if period.no_attributes {
                "{}"
            } else {
                &row.attributes
            });
        }
        out.push_str(r#","lu":"#);
        push_seconds(out, row.last_updated_us);
        // With significant_changes_only the recorder does not even read last_changed.
        if full && !period.significant_changes_only && row.last_changed_us != row.last_updated_us {
            out.push_str(r#","lc":"#);
            push_seconds(out, row.last_changed_us);
        }
        out.push('}');
    }
}

fn domain_of(entity_id: &str) -> &str {
    entity_id
        .split_once('.')
        .map_or(entity_id, |(domain, _)| domain)
}
