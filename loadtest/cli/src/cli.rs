//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ha_settings::Problems;
use loadtest_drills::alerts::{self, AlertsArgs};
use loadtest_drills::disturbed::{BurstArgs, StormArgs};
use loadtest_drills::drill::{DrillArgs, Drills, FaultName};
use loadtest_drills::soak::SoakArgs;
use loadtest_engine::scenario::backlog::BacklogArgs;
use loadtest_engine::scenario::growth::GrowthArgs;
use loadtest_engine::scenario::homes::HomesArgs;
use loadtest_engine::scenario::modes::ModesArgs;
use loadtest_engine::scenario::ramp::RampArgs;
use loadtest_engine::scenario::replay::ReplayArgs;
use loadtest_engine::settings::RunArgs;
use loadtest_report::Output;
use loadtest_report::page::{self, PageArgs};

use crate::bench::BenchArgs;
use crate::home::HomeArgs;
use crate::run::Job;

/// Drives HA Ingestor with a simulated Home Assistant and audits every event
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The simulated Home Assistant by itself, until Ctrl-C
    Home(HomeArgs),
    /// Drive the system, audit every event, report
    #[command(subcommand)]
    Run(Scenario),
    /// Make a page of reports, or compare two
    Report(PageArgs),
    /// Every run that the aims for speed need, and one table: aim, measured, whether it holds
    ///
    /// Takes about 40 minutes; --quick is a trial of some. Exit code 0 when every run passed, also
    /// where an aim is not reached.
    #[command(verbatim_doc_comment)]
    Bench(BenchArgs),
    /// Make each alert's fault on a running system, see it arrive and end, and ask every panel's query
    ///
    /// Takes a quarter of an hour. Exit code 0 only when every rule of deploy/prometheus was seen
    /// firing and resolved, at the right receiver, and no panel of deploy/grafana was empty.
    Alerts(AlertsArgs),
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// One rate for some time
    ///
    /// With no addresses it starts private services (RabbitMQ; InfluxDB 1.x, with --influxdb-api
    /// v2 behind an nginx that gives it the shape of the v2 API) and the producer and worker
    /// binaries beside its own, and stops them again; with addresses it attaches to what runs
    /// there. Exit code 0 only when the verdict is pass: nothing missing, nothing twice, at least
    /// 95 % of rate x seconds sent. Settings of the producer and the worker that this command does
    /// not set itself (such as BATCH_AGE_MS_MAX) are taken from the environment.
    #[command(verbatim_doc_comment)]
    Steady(Box<RunArgs>),
    /// One fault while events flow; afterwards every event is looked for
    ///
    /// The fault begins after a third of the run. All events count, sent or not: what the producer
    /// could not hear it must fetch from Home Assistant's history. Exit code 0 only when nothing is
    /// missing and nothing is there twice; 3 when a drill cannot be made here (the report says why).
    #[command(verbatim_doc_comment)]
    Drill(Box<DrillArgs>),
    /// Faults at random while events flow; afterwards every event is looked for
    ///
    /// The seed, given or by chance, makes the same schedule of faults again.
    Soak(Box<SoakArgs>),
    /// 20 times the rate for a while: what waits where, and how soon it is over
    Burst(Box<BurstArgs>),
    /// Connections are cut again and again, all kinds in turn; afterwards every event is looked for
    ReconnectStorm(Box<StormArgs>),
    /// Workers are stopped while events are queued, then started: how long until all is stored
    ///
    /// One run for each number in --workers, and with --sink-latency once more for each with a
    /// database that answers later. Time and rate count from the start of the worker processes to
    /// the last event in the database. Beside them stands what the workers said meanwhile in
    /// backlog_seconds (the largest of them), and what it took from then on. With one worker a bare
    /// consumer and line writer empty a queue of as many events in the same run; the report has the
    /// ratio. --rate is the rate at which the queue is filled, 10000 unless given.
    #[command(verbatim_doc_comment)]
    Backlog(Box<BacklogArgs>),
    /// Many simulated Home Assistants, a producer each, one broker
    Homes(Box<HomesArgs>),
    /// A capture at its own pace, or faster
    Replay(Box<ReplayArgs>),
    /// The same load through all four modes, one after the other
    ///
    /// The report's matrix has latency, processor time per million events, memory, and what was
    /// stored, for each. --mode means nothing here.
    #[command(verbatim_doc_comment)]
    Modes(Box<ModesArgs>),
    /// One rate, then ten times the rate: what an event costs at each
    ///
    /// The report's growth has the processor time per million events of each role at both rates,
    /// counted from the first event to the last one stored, and their ratio.
    #[command(verbatim_doc_comment)]
    Growth(Box<GrowthArgs>),
    /// The highest rate that holds, beside broker and database with no product in between
    ///
    /// The rate is doubled from --rate (1000) on until it does not hold for --step-seconds, twice,
    /// then sought between the last two, to 5 %. A rate holds if 95 % of the events were sent, no
    /// more than a quarter of a second's events were not stored when the step ended, and p99 is at
    /// most 250 ms. Then a bare publisher, consumer and line writer move the same bytes through the same
    /// broker and database, sought and judged alike, while a home fires at the same rate to a client
    /// that drops what it reads; the report has the ratio of both rates. What they move with any delay
    /// stands beside it. --sink null shows the product alone.
    #[command(verbatim_doc_comment)]
    Ramp(Box<RampArgs>),
}

/// Runs the command of the command line.
#[must_use]
pub fn run() -> ExitCode {
    // Every TLS library here uses the process's one crypto provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut problems = Problems::default();
    let result = match ha_settings::parse::<Cli>().command {
        Command::Home(args) => {
            let options = args.resolve(&mut problems);
            checked(options, &problems).map(crate::home::run)
        }
        Command::Report(args) => {
            let task = args.resolve(&mut problems);
            checked(task, &problems).map(|task| {
                let faults: Vec<&str> = FaultName::all().map(FaultName::as_str).collect();
                page::run(task, &faults)
            })
        }
        Command::Bench(args) => {
            let bench = args.resolve(&mut problems);
            checked(bench, &problems).map(crate::bench::run)
        }
        Command::Alerts(args) => {
            let job = args.resolve(&mut problems);
            checked(job, &problems).map(alerts::command)
        }
        Command::Run(Scenario::Drill(args)) => {
            let drills = args.resolve(&mut problems);
            checked(drills, &problems).map(crate::run::drills)
        }
        Command::Run(Scenario::Soak(args)) => {
            let soak = args.resolve(&mut problems);
            checked(soak, &problems).map(|(plan, output)| {
                crate::run::drills(Drills {
                    plans: vec![plan],
                    folder: None,
                    output,
                })
            })
        }
        Command::Run(scenario) => {
            let job = scenario.resolve(&mut problems);
            checked(job, &problems).map(|(job, output)| crate::run::command(job, &output))
        }
    };
    let Some(result) = result else {
        return ha_settings::exit_with_problems(&problems);
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

/// Nothing is run after a problem.
fn checked<T>(resolved: Option<T>, problems: &Problems) -> Option<T> {
    resolved.filter(|_| problems.is_empty())
}

impl Scenario {
    /// Checks everything; `None` after a problem.
    fn resolve(self, problems: &mut Problems) -> Option<(Job, Output)> {
        let steady = |name, (plan, output)| (Job::Steady(name, Box::new(plan)), output);
        let disturbed = |(plan, output)| (Job::Disturbed(Box::new(plan)), output);
        match self {
            Self::Steady(args) => {
                let plan = args.resolve(problems)?;
                Some(steady("steady", (plan, args.output())))
            }
            Self::Homes(args) => args.resolve(problems).map(|run| steady("homes", run)),
            Self::Replay(args) => args.resolve(problems).map(|run| steady("replay", run)),
            Self::Burst(args) => args.resolve(problems).map(disturbed),
            Self::ReconnectStorm(args) => args.resolve(problems).map(disturbed),
            Self::Backlog(args) => {
                let (backlog, output) = args.resolve(problems)?;
                Some((Job::Backlog(backlog), output))
            }
            Self::Modes(args) => {
                let (plans, output) = args.resolve(problems)?;
                Some((Job::Modes(plans), output))
            }
            Self::Growth(args) => {
                let (plans, output) = args.resolve(problems)?;
                Some((Job::Growth(plans), output))
            }
            Self::Ramp(args) => {
                let (ramp, output) = args.resolve(problems)?;
                Some((Job::Ramp(Box::new(ramp)), output))
            }
            // They have several reports.
            Self::Drill(_) | Self::Soak(_) => None,
        }
    }
}
