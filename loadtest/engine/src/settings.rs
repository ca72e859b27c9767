//! The settings of `loadtest run`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ha_settings::{BrokerArgs, InfluxArgs, Problems, TlsArgs, number, seconds};
use ha_simulator::Replay;
use ha_sink::Api;
use loadtest_report::Output;
use url::Url;

use crate::plan::{BrokerPlan, Load, Mode, Plan, SinkPlan};
use crate::topology::Topology;

/// More events per second than the machines that this runs on can fire.
const RATE_MAX: u32 = 1_000_000;
const ENTITIES_MAX: usize = 1_000_000;
const WORKERS_MAX: usize = 64;
const HOME_RESTARTS_MAX: u32 = 1_000;

/// What is not given.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Worker processes.
    pub workers: &'static str,
    /// Events per second.
    pub rate: &'static str,
    /// Where no capture says when it is over.
    pub duration: Duration,
    /// The longest wait until everything is stored, in seconds.
    pub drain: &'static str,
}

impl Defaults {
    const STEADY: Self = Self {
        workers: "2",
        rate: "1000",
        duration: Duration::from_secs(30),
        drain: "120",
    };
    const ROLLING: Self = Self {
        workers: "3",
        rate: "2000",
        ..Self::STEADY
    };
}

/// Settings of `loadtest run`, as given.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Where events are enriched: queue (RabbitMQ and workers), service (workers over HTTP), inline or
    /// disabled (in the producer)
    #[arg(
        long,
        default_value = "queue",
        value_name = "queue|service|inline|disabled"
    )]
    pub mode: String,
    /// Worker processes in modes queue and service; unset: 2, and 3 in a drill that disturbs workers
    #[arg(long, value_name = "COUNT")]
    pub workers: Option<String>,
    /// Events per second, whatever the system does (open loop); unset: 1000, in a drill 2000
    #[arg(long, value_name = "RATE")]
    pub rate: Option<String>,
    /// How long events are fired, such as 50, 10m or 2h; unset: 30, in a drill 60, with --replay
    /// once through
    #[arg(long, value_name = "TIME")]
    pub seconds: Option<String>,
    /// Entities in the simulated house
    #[arg(long, default_value = "300", value_name = "COUNT")]
    entities: String,
    /// Fire the events of a capture (JSON lines) with times of now instead of the house's; with
    /// --seconds again and again
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Where points go; null discards them, which leaves nothing to audit
    #[arg(long, default_value = "influxdb", value_name = "influxdb|sqlite|null")]
    sink: String,
    /// In the middle of the run, at this second, SIGTERM to the producer and all workers, which
    /// must exit with 0 within the grace and are started again; may be repeated
    #[arg(long, value_name = "SECOND")]
    restart_at: Vec<String>,
    /// After a third of the run the workers are restarted one after the other by SIGTERM; no batch
    /// that was settled may come again. With it --rate is 2000 and --workers 3 unless given
    #[arg(long)]
    rolling_restart: bool,
    /// The simulated Home Assistant restarts so many times, spread over the run: closed cleanly
    /// and killed by turns
    #[arg(long, default_value = "0", value_name = "COUNT")]
    home_restarts: String,
    /// How long to wait at the end until everything sent is stored; unset: 120, in a drill 300
    #[arg(long, value_name = "TIME")]
    drain_seconds: Option<String>,
    /// Write the report as JSON; - is standard output, which then holds nothing else
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Write the report as one HTML page with plots, which needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Keep the logs of the started processes here; unset: kept only when the verdict is fail
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
    /// Base URL of RabbitMQ's management API, for the redelivered count when attached to a broker
    #[arg(long, env = "RABBITMQ_MANAGEMENT_URL", value_name = "URL")]
    rabbitmq_management_url: Option<String>,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    influx: InfluxArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

impl RunArgs {
    /// Whether something is asked for that only a steady run does.
    pub fn interrupts(&self) -> bool {
        self.replay.is_some()
            || !self.restart_at.is_empty()
            || self.rolling_restart
            || self.home_restarts != "0"
    }

    /// Where the report goes.
    #[must_use]
    pub fn output(&self) -> Output {
        Output {
            json: self.json.clone(),
            html: self.html.clone(),
        }
    }

    /// Checks everything; `None` after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<Plan> {
        let defaults = if self.rolling_restart {
            Defaults::ROLLING
        } else {
            Defaults::STEADY
        };
        let plan = self.resolve_with(problems, &defaults)?;
        if self.rolling_restart && plan.mode != Mode::Queue {
            problems.other(
                "--rolling-restart is for --mode queue: what comes again is the broker's to count",
            );
        }
        Some(plan)
    }

    /// Checks everything for a scenario with a course of its own, to which the flags that only
    /// `run steady` has mean nothing.
    pub fn resolve_alone(
        &self,
        problems: &mut Problems,
        scenario: &str,
        defaults: &Defaults,
    ) -> Option<Plan> {
        if self.interrupts() {
            problems.other(format!(
                "--replay, --restart-at, --rolling-restart and --home-restarts are for `run \
                 steady`; {scenario} has a course of its own"
            ));
        }
        self.resolve_with(problems, defaults)
    }

    /// Checks everything, with the defaults of another scenario.
    pub fn resolve_with(&self, problems: &mut Problems, defaults: &Defaults) -> Option<Plan> {
        let mode = match self.mode.as_str() {
            "queue" => Some(Mode::Queue),
            "service" => Some(Mode::Service),
            "inline" => Some(Mode::Inline),
            "disabled" => Some(Mode::Disabled),
            other => {
                problems.bad("--mode", other, "queue, service, inline or disabled");
                None
            }
        };
        let workers = number(
            problems,
            "--workers",
            self.workers.as_deref().unwrap_or(defaults.workers),
            1..=WORKERS_MAX,
        );
        let rate = rate(problems, self.rate.as_deref().unwrap_or(defaults.rate));
        let duration = self
            .seconds
            .as_ref()
            .map(|text| seconds(problems, "--seconds", text));
        let load = match (
            replay(problems, "--replay", self.replay.as_deref()),
            duration,
        ) {
            (None, duration) => Load::House(duration.unwrap_or(defaults.duration)),
            (Some(capture), None) => Load::Capture(capture),
            (Some(capture), Some(duration)) => Load::LoopedCapture(capture.looping(), duration),
        };
        let entities = entities(problems, &self.entities);
        let sink = self.sink(problems);
        let broker = mode.and_then(|mode| self.broker(mode, problems));
        let restarts_at = self
            .restart_at
            .iter()
            .map(|text| seconds(problems, "--restart-at", text))
            .collect();
        let rolling_restart_at = match (&load, self.rolling_restart) {
            (_, false) => None,
            (Load::House(duration) | Load::LoopedCapture(_, duration), true) => Some(*duration / 3),
            (Load::Capture(_) | Load::PacedCapture(_), true) => {
                problems.other("--rolling-restart with --replay needs --seconds");
                None
            }
        };
        let home_restarts = number(
            problems,
            "--home-restarts",
            &self.home_restarts,
            0..=HOME_RESTARTS_MAX,
        );
        let drain_max = self.drain_seconds.as_deref().unwrap_or(defaults.drain);
        let drain_max = seconds(problems, "--drain-seconds", drain_max);
        let tls = self.tls.resolve(problems);
        Some(Plan {
            mode: mode?,
            workers,
            rate,
            load,
            homes: 1,
            entities,
            sink: sink?,
            broker: broker?,
            tls: tls?,
            restarts_at,
            rolling_restart_at,
            home_restarts,
            drain_max,
            logs: self.logs.clone(),
            binaries: None,
            topology: Topology::default(),
        })
    }

    fn sink(&self, problems: &mut Problems) -> Option<SinkPlan> {
        match self.sink.as_str() {
            "sqlite" => Some(SinkPlan::Sqlite),
            "null" => Some(SinkPlan::Null),
            "influxdb" if self.influx.influxdb_url.is_some() => self
                .influx
                .resolve(problems)
                .map(|settings| SinkPlan::Influx(Box::new(settings))),
            "influxdb" => match self.influx.influxdb_api.as_str() {
                "v1" => Some(SinkPlan::PrivateInflux(Api::V1)),
                "v2" => Some(SinkPlan::PrivateInflux(Api::V2)),
                other => {
                    problems.bad("INFLUXDB_API", other, "v1 or v2");
                    None
                }
            },
            other => {
                problems.bad("--sink", other, "influxdb, sqlite or null");
                None
            }
        }
    }

    fn broker(&self, mode: Mode, problems: &mut Problems) -> Option<BrokerPlan> {
        if mode != Mode::Queue {
            return Some(BrokerPlan::None);
        }
        if self.broker.amqp_url.is_none() && self.broker.amqp_url_file.is_none() {
            return Some(BrokerPlan::Private);
        }
        let management_url = match self.rabbitmq_management_url.as_deref().map(Url::parse) {
            None => None,
            Some(Ok(url)) => Some(url),
            Some(Err(_)) => {
                let valid = "a URL such as http://rabbitmq:15672";
                problems.bad_secret("RABBITMQ_MANAGEMENT_URL", valid);
                None
            }
        };
        let amqp_url = self.broker.resolve(problems)?;
        Some(BrokerPlan::Given {
            amqp_url,
            management_url,
        })
    }
}

/// Reads `--rate`; 1 after a problem.
pub fn rate(problems: &mut Problems, text: &str) -> f64 {
    rate_of(problems, "--rate", text)
}

/// Reads a rate in events per second; 1 after a problem.
pub fn rate_of(problems: &mut Problems, name: &str, text: &str) -> f64 {
    match text.trim().replace('_', "").parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= f64::from(RATE_MAX) => rate,
        _ => {
            problems.bad(
                name,
                text,
                format_args!("events per second, up to {RATE_MAX}"),
            );
            1.0
        }
    }
}

/// Reads `--entities`.
pub fn entities(problems: &mut Problems, text: &str) -> usize {
    number(problems, "--entities", text, 1..=ENTITIES_MAX)
}

/// Reads a capture, if one is given; `None` after a problem, too.
pub fn replay(problems: &mut Problems, name: &str, path: Option<&Path>) -> Option<Replay> {
    let path = path?;
    match Replay::read(path) {
        Ok(replay) => Some(replay),
        Err(error) => {
            problems.bad(name, &path.display().to_string(), error);
            None
        }
    }
}
