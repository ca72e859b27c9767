//! The simulator as its users see it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    connection::serve,
    home::{Home, SLICE_EVENTS, SimulatorStats},
    inject_error::InjectError,
    json::{push_string, push_time, push_ulid},
    ledger::Ledger,
    options::SimulatorOptions,
    rate::{Feed, pace},
    registries::Registry,
    replay::Replay,
};

/// How long clean closes may take before the connections are cut.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long the port of a home that comes back may be taken.
const LISTEN_WAIT_MAX: Duration = Duration::from_secs(10);
const LISTEN_BACKLOG: u32 = 1_024;

/// A simulated Home Assistant, serving until [`Simulator::shutdown`] or until the last clone is
/// dropped. One thing fires at a time: a house or a replay at a rate.
#[derive(Debug, Clone)]
pub struct Simulator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    home: Arc<Home>,
    address: SocketAddr,
    /// Events per second of the running [`Simulator::run_rate`], as the bits of an `f64`.
    rate: Arc<AtomicU64>,
    stop: CancellationToken,
    door: Mutex<Option<Door>>,
    sessions: TaskTracker,
}

/// The task that accepts connections.
#[derive(Debug)]
struct Door {
    shut: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
        self.home
            .expel()
            .iter()
            .for_each(|connection| connection.cut(false));
    }
}

impl Simulator {
    /// Furnishes the house and listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(options: SimulatorOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let simulator = Self {
            inner: Arc::new(Inner {
                home: Arc::new(Home::new(options)),
                address,
                rate: Arc::default(),
                stop: CancellationToken::new(),
                door: Mutex::new(None),
                sessions: TaskTracker::new(),
            }),
        };
        simulator.open_door(listener);
        Ok(simulator)
    }

    /// The base URL, `http://127.0.0.1:PORT`; the API is at `/api/websocket` behind it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.inner.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// The token that it takes.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.inner.home.options.token
    }

    /// The ids of the house's entities, removed ones included.
    #[must_use]
    pub fn entity_ids(&self) -> Vec<String> {
        self.inner.home.entity_ids()
    }

    /// The record of everything that was fired.
    #[must_use]
    pub fn ledger(&self) -> Arc<Ledger> {
        self.inner.home.ledger.clone()
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> SimulatorStats {
        self.inner.home.stats()
    }

    /// Lets the house fire `count` events at once. More than the limit on pending messages cut
    /// every subscribed client off, as in Home Assistant.
    pub fn fire(&self, count: u64) {
        for done in (0..count).step_by(SLICE_EVENTS as usize) {
            self.inner.home.fire((count - done).min(SLICE_EVENTS));
        }
    }

    /// Lets the house fire `rate` events per second, for `duration` or until shutdown, whatever the
    /// clients do (open loop). Over a whole duration at one rate exactly `rate * duration` events
    /// are fired, less what would have been due while the home was restarting. The handle gives
    /// the number of events; aborting it stops the firing.
    pub fn run_rate(&self, rate: f64, duration: Option<Duration>) -> JoinHandle<u64> {
        self.run(Feed::House, rate, duration)
    }

    /// Fires the events of a capture at `rate` per second, until its end (or, looping, for
    /// `duration` or until shutdown).
    pub fn replay(&self, replay: Replay, rate: f64, duration: Option<Duration>) -> JoinHandle<u64> {
        self.run(Feed::Replay(replay), rate, duration)
    }

    /// Changes the rate (events per second) of what runs, from now on.
    pub fn set_rate(&self, rate: f64) {
        self.inner.rate.store(rate.to_bits(), Ordering::Release);
    }

    /// Answers these commands with `unknown_command` from now on, and only these: what Home Assistant
    /// does with `history/...` while it starts.
    pub fn set_unknown_commands(&self, commands: &[&str]) {
        let commands = commands.iter().map(|&name| name.to_owned()).collect();
        self.inner.home.set_unknown_commands(commands);
    }

    /// Moves the home's clock: this many microseconds are added to the wall clock from now on.
    /// Moved back it stands (each event one microsecond later) until the wall clock has caught up:
    /// times of events always rise.
    pub fn set_clock_offset_us(&self, offset_us: i64) {
        self.inner.home.set_clock_offset_us(offset_us);
    }

    /// Fires an event of any other type than `state_changed`; `data` is its JSON. The ledger does
    /// not have it.
    ///
    /// # Errors
    /// If `data` is not JSON.
    pub fn fire_bus_event(&self, event_type: &str, data: &str) -> Result<(), InjectError> {
        let time_us = self.inner.home.tick_us();
        let mut json = String::from(r#"{"event_type":"#);
        push_string(&mut json, event_type);
        json.push_str(r#","data":"#);
        json.push_str(data);
        json.push_str(r#","origin":"LOCAL","time_fired":""#);
        push_time(&mut json, time_us);
        json.push_str(r#"","context":{"id":""#);
        push_ulid(&mut json, (time_us / 1_000).cast_unsigned(), rand::random());
        json.push_str(r#"","parent_id":null,"user_id":null}}"#);
        self.inner.home.inject_event(&json, false)
    }

    /// Changes fields of an entry in a registry and fires the event that says so. False if there is
    /// no entry of this id.
    pub fn update_registry(
        &self,
        registry: Registry,
        id: &str,
        changes: &serde_json::Map<String, serde_json::Value>,
    ) -> bool {
        let updated = self.inner.home.registries.update(registry, id, changes);
        let Some(data) = updated else { return false };
        let event_type = format!("{}_registry_updated", registry.as_str());
        self.fire_bus_event(&event_type, &data.to_string()).is_ok()
    }

    /// Sends a text, whatever it is, in a message of its own to every client with a subscription.
    /// Returns how many these are.
    pub fn inject(&self, raw: &str) -> usize {
        self.inner.home.inject_raw(raw)
    }

    /// Delivers a bare event, byte for byte, to the subscribers of its type. With `record` the
    /// ledger, the history and the current states have it too.
    ///
    /// # Errors
    /// If it is not JSON, or with `record` not a `state_changed` event.
    pub fn inject_event(&self, json: &str, record: bool) -> Result<(), InjectError> {
        self.inner.home.inject_event(json, record)
    }

    /// Closes all connections with a close frame, behind what is pending. Returns when they are
    /// gone, after 3 s at most.
    pub async fn close_all_clean(&self) {
        let connections = self.inner.home.expel();
        connections.iter().for_each(|connection| connection.close());
        let numbers: Vec<u32> = connections
            .iter()
            .map(|connection| connection.number)
            .collect();
        let _ = timeout(CLOSE_WAIT_MAX, async {
            while self.inner.home.has_connections(&numbers) {
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        connections
            .iter()
            .for_each(|connection| connection.cut(false));
    }

    /// Resets all connections: no close frame, what is pending and what the client has not read
    /// yet is lost.
    pub fn kill_all(&self) {
        self.inner
            .home
            .expel()
            .iter()
            .for_each(|connection| connection.cut(true));
    }

    /// Home Assistant restarts: connections are closed, the port refuses for `down_for`, nothing
    /// fires meanwhile (a running rate leaves the events of that time out); then it listens on the
    /// same port again.
    ///
    /// # Errors
    /// If the port is taken when it comes back.
    pub async fn restart(&self, down_for: Duration) -> io::Result<()> {
        self.inner.home.set_running(false);
        let result = self.away(down_for, true).await;
        self.inner.home.set_running(true);
        result
    }

    /// Home Assistant cannot be reached for `down_for`: connections are reset and the port refuses,
    /// but the house lives on and its history is recorded.
    ///
    /// # Errors
    /// If the port is taken when it comes back.
    pub async fn unreachable(&self, down_for: Duration) -> io::Result<()> {
        self.away(down_for, false).await
    }

    /// Stops firing and listening, ends all connections and waits until they are gone.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.shut_door().await;
        self.close_all_clean().await;
        self.inner.sessions.close();
        let _ = timeout(CLOSE_WAIT_MAX, self.inner.sessions.wait()).await;
    }

    fn run(&self, feed: Feed, rate: f64, duration: Option<Duration>) -> JoinHandle<u64> {
        self.set_rate(rate);
        let (home, rate) = (self.inner.home.clone(), self.inner.rate.clone());
        let stop = self.inner.stop.clone();
        tokio::spawn(async move { pace(&home, feed, &rate, duration, &stop).await })
    }

    async fn away(&self, down_for: Duration, clean: bool) -> io::Result<()> {
        let back = Instant::now() + down_for;
        self.shut_door().await;
        if clean {
            self.close_all_clean().await;
        } else {
            self.kill_all();
        }
        // Bound but not listening the port refuses, and no one else can take it: a client that
        // connects to a free port of its own range may be given that very port.
        let socket = self.bind_again().await?;
        tokio::time::sleep_until(back).await;
        self.open_door(socket.listen(LISTEN_BACKLOG)?);
        Ok(())
    }

    async fn bind_again(&self) -> io::Result<TcpSocket> {
        let deadline = Instant::now() + LISTEN_WAIT_MAX;
        loop {
            let socket = match self.inner.address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            match socket.bind(self.inner.address) {
                Ok(()) => return Ok(socket),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn open_door(&self, listener: TcpListener) {
        let shut = self.inner.stop.child_token();
        let (home, sessions) = (self.inner.home.clone(), self.inner.sessions.clone());
        let task = tokio::spawn(accept(listener, shut.clone(), home, sessions));
        *self
            .inner
            .door
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Door { shut, task });
    }

    async fn shut_door(&self) {
        let door = self
            .inner
            .door
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Door { shut, task }) = door {
            shut.cancel();
            let _ = task.await;
        }
    }
}

async fn accept(
    listener: TcpListener,
    shut: CancellationToken,
    home: Arc<Home>,
    sessions: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = shut.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                sessions.spawn(serve(home.clone(), stream));
            }
            // Out of descriptors, or the client is gone already.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}
