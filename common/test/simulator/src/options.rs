//! What a simulated home is made of.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// The simulated Home Assistant as a whole. `Default` is a home of 300 entities on a free loopback
/// port that behaves as version 2024.3.3 does.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The access token that clients must present.
    pub token: String,
    /// The version told to clients. From 2024.4 on states carry `last_reported`.
    pub ha_version: String,
    /// The entities and what they do.
    pub house: HouseOptions,
    /// A connection with this many messages pending is cut (Home Assistant: 4,096).
    pub pending_messages_max: usize,
    /// A connection that stays over this many pending messages (Home Assistant: 1,024) …
    pub pending_messages_peak: usize,
    /// How long a client may be over the peak before it is cut off (Home Assistant: 5 s).
    pub pending_peak_max: Duration,
    /// How often the server pings (Home Assistant: 55 s); no answer within half of it ends the
    /// connection.
    pub heartbeat: Duration,
    /// How long a client may take to authenticate (Home Assistant: 10 s).
    pub auth_wait_max: Duration,
    /// Rows that the simulated recorder keeps, oldest dropped first.
    pub history_rows_max: usize,
    /// How late the recorder commits: younger rows are not in the history yet (Home Assistant's
    /// default is 5 s).
    pub history_commit_delay: Duration,
    /// Added to the wall clock: a home whose clock is wrong. Microseconds.
    pub clock_offset_us: i64,
    /// Commands to answer with `unknown_command`, as an older Home Assistant does. Can be changed
    /// while it runs.
    pub unknown_commands: Vec<String>,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: "simulated-home-token".to_owned(),
            ha_version: "2024.3.3".to_owned(),
            house: HouseOptions::default(),
            pending_messages_max: 4_096,
            pending_messages_peak: 1_024,
            pending_peak_max: Duration::from_secs(5),
            heartbeat: Duration::from_secs(55),
            auth_wait_max: Duration::from_secs(10),
            history_rows_max: 1_000_000,
            history_commit_delay: Duration::ZERO,
            clock_offset_us: 0,
            unknown_commands: Vec::new(),
        }
    }
}

impl SimulatorOptions {
    /// Whether states carry `last_reported`, which Home Assistant 2024.4 introduced.
    pub(crate) fn has_last_reported(&self) -> bool {
        let mut parts = self
            .ha_version
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0));
        let (year, month) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        (year, month) >= (2024, 4)
    }
}

/// The house: the same options give the same entities and the same sequence of changes; only the
/// times differ.
#[derive(Debug, Clone)]
pub struct HouseOptions {
    /// Number of entities, `weather.home` and `sun.sun` included.
    pub entities: usize,
    /// Seed of everything that is random.
    pub seed: u64,
    /// Whether entities now and then become `unavailable` or `unknown`, vanish and come back.
    pub lifecycle_events: bool,
}

impl Default for HouseOptions {
    fn default() -> Self {
        Self {
            entities: 300,
            seed: 1,
            lifecycle_events: true,
        }
    }
}
