//! The demo: everything real but the house.

use crate::App;
use crate::config::{Config, Destination, Mode};
use anyhow::Context;
use clap::Args;
use ha_enrich::Options;
use ha_filter::{Filter, FilterRules};
use ha_settings::{
    BatchingSettings, HomeAssistantSettings, Problems, Secret, SinkChoice, SqliteSettings, TlsArgs,
    WeatherSettings, WriteBatchSettings, number,
};
use ha_simulator::{Simulator, SimulatorOptions};
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Flags of `producer demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How long; unset: until Ctrl-C
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<String>,
    /// Events a second that the simulated house fires
    #[arg(long, default_value = "50", value_name = "EVENTS")]
    rate: String,
    /// File of the embedded database; what an earlier demo left there is replaced
    #[arg(long, default_value = "./ha-ingestor-demo.db", value_name = "FILE")]
    database: PathBuf,
}

/// The demo, checked.
#[derive(Debug)]
pub struct Demo {
    seconds: Option<u64>,
    rate: u32,
    database: PathBuf,
}

impl DemoArgs {
    /// Checks the flags; `None` after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<Demo> {
        let seconds = self.seconds.as_ref();
        let seconds = seconds.map(|text| number(problems, "--seconds", text, 1..=86_400));
        let rate = number(problems, "--rate", &self.rate, 1..=20_000);
        Some(Demo {
            seconds,
            rate,
            database: self.database.clone(),
        })
    }
}

/// Runs the demo and prints what there is to see.
///
/// # Errors
/// The database file cannot be used, or the simulated house cannot listen.
#[tokio::main]
pub async fn run(demo: Demo) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for ending in ["", "-wal", "-shm"] {
        let mut path = demo.database.clone().into_os_string();
        path.push(ending);
        let _ = std::fs::remove_file(path);
    }
    let folder = tempfile::tempdir().context("a temporary folder for the spool")?;
    let house = Simulator::start(SimulatorOptions::default())
        .await
        .context("the simulated house")?;
    println!(
        "A simulated Home Assistant listens on {} and fires {} events a second.\n\
         The producer reads its WebSocket, enriches inline and stores in {}.\n",
        house.url(),
        demo.rate,
        demo.database.display()
    );
    let config = config(&demo, &house, folder.path().join("spool.db"))?;
    let metrics = ha_telemetry::install_metrics("producer")?;
    let app = App::build(config, metrics).await?;
    println!(
        "Look at it while it runs: http://{}/\n",
        app.admin_address()
    );

    let stop = ha_telemetry::shutdown_token()?;
    let running = tokio::spawn(app.run(stop.clone()));
    wait_for_subscription(&house, &stop).await;
    let firing = house.run_rate(f64::from(demo.rate), None);
    watch(&demo, &house, &stop).await;
    firing.abort();
    stop.cancel();
    running.await.context("the producer ended badly")??;
    house.shutdown().await;
    summary(&demo, &house)
}

async fn wait_for_subscription(house: &Simulator, stop: &CancellationToken) {
    while house.stats().subscriptions.is_empty() && !stop.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A line a second, until the time is over or Ctrl-C.
async fn watch(demo: &Demo, house: &Simulator, stop: &CancellationToken) {
    let began = Instant::now();
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.tick().await;
    let mut before = 0;
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return,
        }
        let fired = house.stats().fired;
        let (stored, newest) = stored(&demo.database).unwrap_or((0, String::new()));
        println!(
            "{:>4} s   {fired:>8} fired   {stored:>8} stored   {:>6}/s   {newest}",
            began.elapsed().as_secs(),
            stored - before,
        );
        before = stored;
        if demo
            .seconds
            .is_some_and(|seconds| began.elapsed() >= Duration::from_secs(seconds))
        {
            return;
        }
    }
}

fn open(database: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Points stored, and the newest state.
fn stored(database: &Path) -> rusqlite::Result<(i64, String)> {
    let connection = open(database)?;
    connection.query_row(
        "SELECT count(*), (SELECT json_extract(tags, '$.entity_id') || ' = ' || json_extract(fields, '$.state')
            FROM points WHERE measurement = 'home_assistant_events' ORDER BY time_ns DESC LIMIT 1)
         FROM points WHERE measurement = 'home_assistant_events'",
        [],
        |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?.unwrap_or_default())),
    )
}

const QUERY: &str = "SELECT entity_id, count(*) AS points, round(avg(value), 1) AS average \
    FROM home_assistant_events WHERE value IS NOT NULL GROUP BY entity_id ORDER BY points DESC LIMIT 5";

fn summary(demo: &Demo, house: &Simulator) -> anyhow::Result<()> {
    let sent = house.ledger().sent() as i64;
    let (stored, _) = stored(&demo.database).context("reading the database back")?;
    let lost = (sent - stored).max(0);
    println!("\n{sent} events left the house, {stored} are stored, {lost} are missing.\n");
    println!("The five busiest entities with a number:\n");
    println!("  {:<44} {:>7} {:>9}", "entity", "points", "average");
    let connection = open(&demo.database)?;
    let mut statement = connection.prepare(QUERY)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (entity, points, average): (String, i64, f64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        println!("  {entity:<44} {points:>7} {average:>9}");
    }
    let database = demo.database.display();
    println!("\nAsk it yourself:\n\n  sqlite3 {database} \"{QUERY}\"\n");
    println!(
        "Next, your own Home Assistant:\n\n  HOME_ASSISTANT_URL=http://homeassistant.local:8123 \
         HOME_ASSISTANT_TOKEN=… producer run\n"
    );
    anyhow::ensure!(lost == 0, "{lost} events are missing");
    Ok(())
}

fn config(demo: &Demo, house: &Simulator, spool_path: PathBuf) -> anyhow::Result<Config> {
    let mut problems = Problems::default();
    let tls = TlsArgs {
        tls_ca_file: None,
        tls_cert_file: None,
        tls_key_file: None,
    };
    let tls = tls
        .resolve(&mut problems)
        .with_context(|| problems.to_string())?;
    Ok(Config {
        mode: Mode::Inline,
        instance: "demo".into(),
        home_assistant: HomeAssistantSettings {
            url: house
                .url()
                .parse()
                .context("the simulated house's address")?,
            token: Secret::new(house.token()),
            event_types: vec!["state_changed".into()],
        },
        filter: Filter::new(FilterRules::default())?,
        destination: Destination::Sink {
            sink: SinkChoice::Sqlite(SqliteSettings {
                path: demo.database.clone(),
                retention: None,
            }),
            batch: WriteBatchSettings {
                points_max: 5_000,
                age_max: Duration::from_millis(10),
                prefetch_events_max: 20_000,
                writes_in_flight_max: 1,
            },
            enrichment: Box::new(Options::default()),
            weather: Box::new(WeatherSettings::none()),
        },
        extra_tags: Vec::new(),
        quality_interval: Duration::from_secs(60),
        batching: BatchingSettings {
            events_max: 250,
            bytes_max: 1 << 20,
            age_max: Duration::from_millis(16),
            compress_bytes_min: None,
            event_bytes_max: 256 << 10,
        },
        spool_path,
        spool_bytes_max: 64 << 20,
        alert_webhook_url: None,
        tls,
        admin_address: ([127, 0, 0, 1], 0).into(),
        grace: Duration::from_secs(25),
    })
}
