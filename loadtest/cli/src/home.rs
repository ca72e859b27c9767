//! `loadtest home`: the simulated Home Assistant by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ha_settings::Problems;
use ha_simulator::{HouseOptions, Replay, Simulator, SimulatorOptions};
use loadtest_engine::settings::{self, entities, rate};

/// Settings of `loadtest home`, as given.
#[derive(Debug, Args)]
pub struct HomeArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8123", value_name = "ADDRESS")]
    listen: String,
    /// The access token that clients must present (it guards nothing: the home is simulated)
    #[arg(long, default_value = "simulated-home-token", value_name = "TOKEN")]
    token: String,
    /// Events per second
    #[arg(long, default_value = "10", value_name = "RATE")]
    rate: String,
    /// Entities in the house
    #[arg(long, default_value = "300", value_name = "COUNT")]
    entities: String,
    /// How long, such as 90, 10m or 2h; unset: until Ctrl-C
    #[arg(long, value_name = "TIME")]
    seconds: Option<String>,
    /// Fire the events of a capture (JSON lines), again and again, instead of the house's
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// Settings of `loadtest home`, checked.
pub(crate) struct HomePlan {
    options: SimulatorOptions,
    rate: f64,
    duration: Option<Duration>,
    replay: Option<Replay>,
}

impl HomeArgs {
    pub(crate) fn resolve(&self, problems: &mut Problems) -> Option<HomePlan> {
        let listen = self.listen.parse::<SocketAddr>();
        if listen.is_err() {
            problems.bad(
                "--listen",
                &self.listen,
                "an address such as 127.0.0.1:8123",
            );
        }
        if self.token.is_empty() {
            problems.bad("--token", "", "any text that is not empty");
        }
        let rate = rate(problems, &self.rate);
        let entities = entities(problems, &self.entities);
        let duration = self
            .seconds
            .as_ref()
            .map(|text| ha_settings::seconds(problems, "--seconds", text));
        let replay = settings::replay(problems, "--replay", self.replay.as_deref());
        let options = SimulatorOptions {
            listen: listen.ok()?,
            token: self.token.clone(),
            house: HouseOptions {
                entities,
                ..HouseOptions::default()
            },
            ..SimulatorOptions::default()
        };
        Some(HomePlan {
            options,
            rate,
            duration,
            replay: replay.map(Replay::looping),
        })
    }
}

/// Serves until the time is over, Ctrl-C or SIGTERM.
#[tokio::main]
pub(crate) async fn run(plan: HomePlan) -> anyhow::Result<ExitCode> {
    let shutdown = ha_telemetry::shutdown_token()?;
    let address = plan.options.listen;
    let simulator = Simulator::start(plan.options).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {address}: {error}; choose another with --listen")
    })?;
    println!("Home Assistant (simulated)  {}", simulator.url());
    println!("access token                {}", simulator.token());
    let mut firing = match plan.replay {
        Some(replay) => simulator.replay(replay, plan.rate, plan.duration),
        None => simulator.run_rate(plan.rate, plan.duration),
    };
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.tick().await;
    let started = std::time::Instant::now();
    loop {
        tokio::select! {
            _ = every.tick() => println!("{}", line(&simulator, started.elapsed())),
            _ = &mut firing => break,
            () = shutdown.cancelled() => break,
        }
    }
    firing.abort();
    simulator.shutdown().await;
    println!("{}", line(&simulator, started.elapsed()));
    Ok(ExitCode::SUCCESS)
}

fn line(simulator: &Simulator, elapsed: Duration) -> String {
    let stats = simulator.stats();
    let subscriptions: usize = stats.subscriptions.values().sum();
    format!(
        "{:>6} s  fired {:>9}  sent {:>9}  connections {} (of {} so far)  subscriptions {}",
        elapsed.as_secs(),
        stats.fired,
        stats.sent,
        stats.connections_open,
        stats.connections_accepted,
        subscriptions,
    )
}
