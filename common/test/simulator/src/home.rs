//! The home: what in Home Assistant is the event loop. Whatever must be one step there (firing,
//! subscribing, reading all states) happens here under one lock, and nothing here ever waits for a
//! client.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;

use crate::{
    connection::{Connection, Limits, Outgoing, SentBatch},
    history::History,
    house::House,
    inject_error::InjectError,
    ledger::Ledger,
    machine::{Batch, Clock, StateMachine, wall_clock_us},
    options::SimulatorOptions,
    registries::Registries,
    replay::{Delivery, Replay},
};

/// Events that are fired under one lock.
pub(crate) const SLICE_EVENTS: u64 = 256;

#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) options: SimulatorOptions,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) history: History,
    pub(crate) registries: Registries,
    core: Mutex<Core>,
    /// False while Home Assistant restarts: nothing fires.
    running: AtomicBool,
    unknown_commands: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Core {
    machine: StateMachine,
    house: House,
    clock: Clock,
    connections: Vec<Arc<Connection>>,
    subscriptions: Vec<Subscription>,
    counts: Counts,
}

#[derive(Debug)]
struct Subscription {
    connection: Arc<Connection>,
    id: u64,
    /// `None`: all events.
    event_type: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: u32,
    authenticated: u64,
    auth_failures: u64,
}

/// Counters and gauges of the simulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatorStats {
    /// TCP connections accepted so far.
    pub connections_accepted: u64,
    /// Connections that are open now, authenticated or not.
    pub connections_open: usize,
    /// Successful authentications so far.
    pub authentications: u64,
    /// Refused tokens so far.
    pub auth_failures: u64,
    /// Open subscriptions by event type; `*` is all events.
    pub subscriptions: BTreeMap<String, usize>,
    /// Events fired so far, those of types other than `state_changed` not included.
    pub fired: u64,
    /// Fired events that were written to a subscribed client.
    pub sent: u64,
}

impl Home {
    pub(crate) fn new(options: SimulatorOptions) -> Self {
        let ledger = Arc::new(Ledger::default());
        let history = History::new(options.history_rows_max);
        let mut machine = StateMachine::new(ledger.clone(), options.has_last_reported());
        let mut house = House::new(&options.house);
        let now_us = wall_clock_us() + options.clock_offset_us;
        history.append(&mut house.move_in(&mut machine, now_us));
        let registries = Registries::of(&house);
        let core = Core {
            machine,
            house,
            clock: Clock::new(options.clock_offset_us),
            connections: Vec::new(),
            subscriptions: Vec::new(),
            counts: Counts::default(),
        };
        let running = AtomicBool::new(true);
        let unknown_commands = Mutex::new(options.unknown_commands.clone());
        Self {
            unknown_commands,
            options,
            ledger,
            history,
            registries,
            core: Mutex::new(core),
            running,
        }
    }

    pub(crate) fn is_unknown(&self, command: &str) -> bool {
        let unknown = self.unknown_commands();
        unknown.iter().any(|name| name == command)
    }

    pub(crate) fn set_unknown_commands(&self, commands: Vec<String>) {
        *self.unknown_commands() = commands;
    }

    fn unknown_commands(&self) -> MutexGuard<'_, Vec<String>> {
        let commands = self.unknown_commands.lock();
        commands.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    pub(crate) fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Release);
    }

    /// Lets the house fire `count` events, at most `SLICE_EVENTS`.
    pub(crate) fn fire(&self, count: u64) {
        let mut core = self.core();
        let core = &mut *core;
        let mut batch = Batch::default();
        batch.text.reserve(1_400 * count.min(SLICE_EVENTS) as usize);
        for _ in 0..count.min(SLICE_EVENTS) {
            core.house
                .step(&mut core.machine, core.clock.tick_us(), &mut batch);
        }
        self.commit(core, batch);
    }

    /// Fires up to `count` captured events, at most `SLICE_EVENTS`; fewer when the replay ends.
    pub(crate) fn replay(&self, replay: &mut Replay, count: u64) -> u64 {
        let mut core = self.core();
        let core = &mut *core;
        let mut batch = Batch::default();
        let mut fired = 0;
        while fired < count.min(SLICE_EVENTS) {
            match replay.fire(&mut core.machine, core.clock.tick_us(), &mut batch) {
                Delivery::StateChanged => {}
                Delivery::Other { event_type, json } => {
                    // The order of the capture holds across event types.
                    self.commit(core, std::mem::take(&mut batch));
                    core.deliver(&event_type, single(json, None));
                }
                Delivery::Ended => break,
            }
            fired += 1;
        }
        self.commit(core, batch);
        fired
    }

    /// Sends a text, whatever it is, to every client that has a subscription.
    pub(crate) fn inject_raw(&self, raw: &str) -> usize {
        let core = self.core();
        let raw: Arc<str> = raw.into();
        let mut last = None;
        let mut clients = 0;
        let mut subscribed: Vec<_> = core.subscriptions.iter().map(|s| &s.connection).collect();
        subscribed.sort_by_key(|connection| connection.number);
        for connection in subscribed {
            if last.replace(connection.number) != Some(connection.number) {
                connection.push(Outgoing::Raw(raw.clone()));
                clients += 1;
            }
        }
        clients
    }

    /// Delivers a bare event as it is. With `record` the ledger, the history and the current states
    /// take it as fired.
    pub(crate) fn inject_event(&self, json: &str, record: bool) -> Result<(), InjectError> {
        let mut core = self.core();
        let core = &mut *core;
        if record {
            let mut batch = Batch::default();
            crate::replay::record_verbatim(json, &mut core.machine, &mut batch)?;
            self.commit(core, batch);
            return Ok(());
        }
        let event: Value =
            serde_json::from_str(json).map_err(|error| InjectError(error.to_string()))?;
        let event_type = event["event_type"].as_str().unwrap_or("state_changed");
        core.deliver(event_type, single(json.to_owned(), None));
        Ok(())
    }

    /// The time of a bus event of now, for events of other types.
    pub(crate) fn tick_us(&self) -> i64 {
        self.core().clock.tick_us()
    }

    pub(crate) fn clock_offset_us(&self) -> i64 {
        self.core().clock.offset_us
    }

    pub(crate) fn set_clock_offset_us(&self, offset_us: i64) {
        self.core().clock.offset_us = offset_us;
    }

    pub(crate) fn admit(&self) -> Arc<Connection> {
        let mut core = self.core();
        core.counts.accepted += 1;
        let limits = Limits {
            pending_messages_max: self.options.pending_messages_max,
            pending_messages_peak: self.options.pending_messages_peak,
            pending_peak_max: self.options.pending_peak_max,
        };
        let connection = Arc::new(Connection::new(core.counts.accepted, limits));
        core.connections.push(connection.clone());
        connection
    }

    /// Ends the connection's subscriptions: no event is put into its outbox any more.
    pub(crate) fn unsubscribe_all(&self, connection: &Arc<Connection>) {
        self.core()
            .subscriptions
            .retain(|held| !Arc::ptr_eq(&held.connection, connection));
    }

    /// Forgets a connection that has ended.
    pub(crate) fn dismiss(&self, connection: &Arc<Connection>) {
        let mut core = self.core();
        core.subscriptions
            .retain(|held| !Arc::ptr_eq(&held.connection, connection));
        core.connections
            .retain(|held| !Arc::ptr_eq(held, connection));
    }

    pub(crate) fn count_authenticated(&self, connection: &Connection) {
        connection.set_authenticated();
        tracing::debug!(connection = connection.number, "authenticated");
        self.core().counts.authenticated += 1;
    }

    pub(crate) fn count_auth_failure(&self) {
        self.core().counts.auth_failures += 1;
    }

    /// `result` is answered before the first event.
    pub(crate) fn subscribe(
        &self,
        connection: &Arc<Connection>,
        id: u64,
        event_type: Option<&str>,
        result: String,
    ) {
        let mut core = self.core();
        let event_type = event_type.map(Arc::from);
        connection.push(Outgoing::Message(result));
        core.subscriptions.push(Subscription {
            connection: connection.clone(),
            id,
            event_type,
        });
    }

    /// `result` is answered behind the last event. False if there is no such subscription.
    pub(crate) fn unsubscribe(
        &self,
        connection: &Arc<Connection>,
        id: u64,
        result: String,
    ) -> bool {
        let mut core = self.core();
        let before = core.subscriptions.len();
        core.subscriptions
            .retain(|held| held.id != id || !Arc::ptr_eq(&held.connection, connection));
        let found = core.subscriptions.len() < before;
        if found {
            connection.push(Outgoing::Message(result));
        }
        found
    }

    /// Answers with all current states, in order with the events.
    pub(crate) fn send_states(
        &self,
        connection: &Connection,
        message: impl FnOnce(&str) -> String,
    ) {
        let core = self.core();
        connection.push(Outgoing::Message(message(&core.machine.states_json())));
    }

    pub(crate) fn find_entities(&self, ids: Vec<String>) -> Vec<(String, Option<u32>)> {
        let core = self.core();
        ids.into_iter()
            .map(|id| (core.machine.find(&id), id))
            .map(|(at, id)| (id, at))
            .collect()
    }

    pub(crate) fn entity_ids(&self) -> Vec<String> {
        self.core()
            .house
            .entities
            .iter()
            .map(|entity| entity.id.clone())
            .collect()
    }

    /// All open connections, which lose their subscriptions.
    pub(crate) fn expel(&self) -> Vec<Arc<Connection>> {
        let mut core = self.core();
        core.subscriptions.clear();
        core.connections.clone()
    }

    pub(crate) fn has_connections(&self, numbers: &[u32]) -> bool {
        self.core()
            .connections
            .iter()
            .any(|connection| numbers.contains(&connection.number))
    }

    pub(crate) fn stats(&self) -> SimulatorStats {
        let core = self.core();
        let mut subscriptions = BTreeMap::new();
        for subscription in &core.subscriptions {
            let event_type = subscription.event_type.as_deref().unwrap_or("*");
            *subscriptions.entry(event_type.to_owned()).or_insert(0) += 1;
        }
        SimulatorStats {
            connections_accepted: u64::from(core.counts.accepted),
            connections_open: core.connections.len(),
            authentications: core.counts.authenticated,
            auth_failures: core.counts.auth_failures,
            subscriptions,
            fired: self.ledger.fired(),
            sent: self.ledger.sent(),
        }
    }

    /// Enters the batch into ledger and history and hands it to the subscribers.
    fn commit(&self, core: &mut Core, mut batch: Batch) {
        if batch.ends.is_empty() {
            return;
        }
        let position = self.ledger.append(&mut batch.records);
        self.history.append(&mut batch.rows);
        let Batch { text, ends, .. } = batch;
        core.deliver(
            "state_changed",
            SentBatch {
                text,
                ends,
                position: Some(position),
            },
        );
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    fn deliver(&self, event_type: &str, batch: SentBatch) {
        let batch = Arc::new(batch);
        for subscription in &self.subscriptions {
            if subscription
                .event_type
                .as_deref()
                .is_none_or(|wanted| wanted == event_type)
            {
                let (batch, subscription_id) = (batch.clone(), subscription.id);
                subscription.connection.push(Outgoing::Events {
                    batch,
                    subscription: subscription_id,
                });
            }
        }
    }
}

fn single(text: String, position: Option<u64>) -> SentBatch {
    SentBatch {
        ends: vec![text.len()],
        text,
        position,
    }
}
