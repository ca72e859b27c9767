//! The system on which the faults are made.

use std::path::PathBuf;
use std::time::Duration;

use ha_settings::{Problems, TlsArgs};
use ha_sink::Api;
use loadtest_engine::plan::{BrokerPlan, Load, Mode, Plan, SinkPlan};
use loadtest_engine::topology::{Link, Topology};

use super::render;

/// Events a second while nothing is wrong.
pub(super) const RATE: f64 = 60.0;
const ENTITIES: usize = 300;

/// Mode queue with two workers; what is between the parts can be disturbed.
pub(super) fn of_faults(logs: Option<PathBuf>, problems: &mut Problems) -> Option<Plan> {
    let setting = |name, value: String| (name, value);
    let no_files = TlsArgs {
        tls_ca_file: None,
        tls_cert_file: None,
        tls_key_file: None,
    };
    Some(Plan {
        mode: Mode::Queue,
        homes: 1,
        workers: 2,
        rate: RATE,
        load: Load::House(Duration::MAX),
        entities: ENTITIES,
        sink: SinkPlan::PrivateInflux(Api::V2),
        broker: BrokerPlan::Private,
        tls: no_files.resolve(problems)?,
        restarts_at: Vec::new(),
        rolling_restart_at: None,
        home_restarts: 0,
        drain_max: Duration::from_secs(120),
        logs,
        binaries: None,
        topology: Topology {
            links: vec![Link::ProducerBroker, Link::WorkerDatabase],
            producer: vec![
                setting("SPOOL_BYTES_MAX", render::SPOOL_BYTES_MAX.to_string()),
                // What is written straight to the database is not lost with the spool.
                setting("FALLBACK_DIRECT_WRITE", "false".to_owned()),
            ],
            // Small and one at a time, so that a slow database makes slow workers.
            worker: vec![
                setting("BATCH_POINTS_MAX", "100".to_owned()),
                setting("PREFETCH_EVENTS_MAX", "200".to_owned()),
                setting("WRITES_IN_FLIGHT_MAX", "1".to_owned()),
                setting("WEATHER_PROVIDER", "home-assistant".to_owned()),
            ],
            ..Topology::default()
        },
    })
}
